//! The node's wall clock jumps. Only where the clock is the node's own: a container has its host's, and that is never touched.

use super::{Asked, script::Scripts};

/// How far the clock may be from where it should be after healing, in milliseconds.
const BACK_MAX_MS: i64 = 1_000;

pub(super) fn check() -> String {
    // Bit 25 of the effective capabilities: CAP_SYS_TIME.
    "own='offered only where the node owns its clock: take machines of their own (provider ssh)'\n\
     tr '\\0' '\\n' </proc/1/environ 2>/dev/null | grep -q '^container=' && lacks 'a container shares the clock of its host' \"$own\"\n\
     [ -e /run/systemd/container ] && lacks 'a container shares the clock of its host' \"$own\"\n\
     awk '$5 == \"/\" { for (i = 7; i <= NF; i++) if ($i == \"-\") { exit ($(i+1) == \"overlay\") ? 0 : 1 } }' /proc/self/mountinfo && lacks 'a container shares the clock of its host' \"$own\"\n\
     caps=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)\n\
     [ $(( (0x$caps >> 25) & 1 )) = 1 ] || lacks 'the node may not set its clock' \"$own\"\n"
        .to_owned()
}

/// Sets `$wall` and `$mono` to milliseconds of the two clocks.
const CLOCKS: &str = "clocks() { wall=$(($(date +%s%N) / 1000000)); mono=$(awk '{ printf \"%d\", $1 * 1000 }' /proc/uptime); }\n";
/// Sets the wall clock to `$1` milliseconds since 1970.
const SET: &str =
    "set_wall() { date -u -s \"@$(($1 / 1000)).$(printf %03d $(($1 % 1000)))\" >/dev/null; }\n";

pub(super) fn jump(asked: &Asked) -> Scripts {
    let by = asked.number("by");
    Scripts {
        inject: format!(
            "{CLOCKS}{SET}clocks\necho \"$wall $mono\" >\"$notes/clocks\" || exit 1\n\
             set_wall $((wall + ({by}))) || fail 'the clock cannot be set'\necho 'the wall clock was moved by {by} ms'\n"
        ),
        observe: format!(
            "{CLOCKS}read -r was since <\"$notes/clocks\" || fail 'there are no notes'\nclocks\n\
             off=$((wall - was - (mono - since)))\nfar=$((off - ({by})))\n[ $far -ge 0 ] || far=$((-far))\n\
             if [ $far -le {BACK_MAX_MS} ]; then echo \"seen the wall clock is off by $off ms\"; else echo \"unseen the wall clock is off by $off ms\"; fi\n"
        ),
        heal: format!(
            "{CLOCKS}{SET}was=\n[ -s \"$notes/clocks\" ] && read -r was since <\"$notes/clocks\"\n\
             if [ -n \"$was\" ]; then\nclocks\noff=$((wall - was - (mono - since)))\nfar=$off\n[ $far -ge 0 ] || far=$((-far))\n\
             [ $far -le {BACK_MAX_MS} ] || set_wall $((wall - off)) || fail 'the clock cannot be set'\n\
             clocks\noff=$((wall - was - (mono - since)))\nfar=$off\n[ $far -ge 0 ] || far=$((-far))\n\
             [ $far -le {BACK_MAX_MS} ] || fail \"the wall clock is still off by $off ms\"\necho \"the wall clock is off by $off ms\"\nfi\n"
        ),
    }
}
