//! What is broken in what operations were answered.

use super::*;

pub(super) fn list_forgets(run: &mut Run) -> bool {
    let list = run
        .events
        .iter_mut()
        .rfind(|event| &*event.f == "list" && event.event_type == EventType::Ok)
        .unwrap();
    list.value
        .as_array_mut()
        .unwrap()
        .retain(|member| member != "n1");
    true
}

pub(super) fn token_twice(run: &mut Run) -> bool {
    for event in &mut run.events {
        if matches!(event.value["member"].as_str(), Some("n8" | "n11"))
            && event.value.get("token").is_some()
        {
            event.value["token"] = json!("t0");
        }
    }
    true
}

pub(super) fn removed_writes(run: &mut Run) -> bool {
    let probe = run
        .events
        .iter_mut()
        .find(|event| &*event.f == "removed-probe" && event.event_type == EventType::Ok)
        .unwrap();
    probe.value["in"] = json!(true);
    true
}

pub(super) fn no_write(run: &mut Run) -> bool {
    end_otherwise(run, EventType::Fail, "no-leader", |event| {
        &*event.f == "availability" && event.node.as_deref() == Some("n1")
    })
}

pub(super) fn not_restored(run: &mut Run) -> bool {
    let recover_ns = run.meta.phases[0].start_ns as u64;
    end_otherwise(run, EventType::Fail, "no-leader", |event| {
        &*event.f == "availability" && event.time_ns < recover_ns
    })
}

pub(super) fn canary_refused(run: &mut Run) -> bool {
    erase(run, 11);
    run.events.retain(|event| &*event.f != "canary-remove");
    end_otherwise(run, EventType::Fail, "refused", |event| {
        &*event.f == "canary-join"
    })
}

pub(super) fn burnt_name(run: &mut Run) -> bool {
    erase(run, 10);
    end_otherwise(run, EventType::Fail, "refused", |event| {
        event.f.starts_with("retry-") && event.value["member"] == "n10"
    })
}

/// n10 is left in some sources from its join on until it is joined anew, wiped, after a removal that did not find it.
fn not_found(run: &mut Run, which: impl Fn(&View) -> bool) -> bool {
    let of = |event: &&Event, f: &str| &*event.f == f && event.value["member"] == "n10";
    let begin = |f| {
        let mut all = run.events.iter();
        all.find(|event| of(event, f)).map(|event| event.time_ns)
    };
    let refused = run.events.iter().any(|event| {
        let error = event.error.as_ref();
        of(&event, "retry-remove") && error.is_some_and(|error| error.kind == "not-found")
    });
    let joined_unwiped = run
        .events
        .iter()
        .any(|event| of(&event, "retry-unwiped") && event.event_type == EventType::Ok);
    let (Some(until), true, false) = (begin("retry-join"), refused, joined_unwiped) else {
        return false;
    };
    let from = began(run, 10);
    gain(run, 10, from, MemberState::Pending, |view| {
        view.start_ns < until && which(view)
    })
}

pub(super) fn half_joined_not_found(run: &mut Run) -> bool {
    not_found(run, |view| {
        matches!(view.source, Source::Database | Source::Truststore)
    })
}

pub(super) fn certificate_not_found(run: &mut Run) -> bool {
    not_found(run, |view| view.source == Source::Truststore)
}

pub(super) fn refused_unwiped(run: &mut Run) -> bool {
    let mut any = false;
    for event in &mut run.events {
        if &*event.f == "retry-unwiped"
            && event.value["member"] == "n10"
            && let Some(error) = &mut event.error
        {
            error.kind = "answered-error".to_owned();
            any = true;
        }
    }
    any
}

pub(super) fn list_hangs(run: &mut Run) -> bool {
    let last = run
        .events
        .iter()
        .rfind(|event| &*event.f == "list")
        .unwrap()
        .time_ns;
    end_otherwise(run, EventType::Info, "timeout", |event| {
        &*event.f == "list" && event.time_ns == last
    })
}
