//! A data folder whose reads, writes and syncs fail, or that loses what was not synced: only where a layer is over it.
//!
//! The layer is the agent's (`lab/agent/src/layer`): a file system that hands everything on to the folder beneath. Beside the folder
//! FOLDER is FOLDER.layer, with the program that makes the layer and is asked.
//!
//! A layer that has ended leaves a mount on which nothing can be done (ENOTCONN). Who heals removes that mount and makes a new layer: in the
//! folder beneath is all that was ever written. A process that had files open there must be started anew.

use super::{
    Asked,
    script::{Place, Scripts},
};

/// What is written and read to see whether it fails; the layer counts it apart.
const TRIAL: &str = ".harness-trial";
/// How often a look tries, where only a share fails.
const TRIES: u32 = 60;
/// How many files are told by name.
const TOLD_MAX: u32 = 12;
/// How to get a layer.
const MEND: &str = "give the run --data-layer (dqlite)";

pub(super) fn check(place: &Place) -> String {
    format!(
        "folder={folder}\nif [ ! -x \"$folder.layer/agent\" ]; then\n\
         [ -e /dev/fuse ] || grep -qw fuse /proc/filesystems || lacks 'the kernel has no FUSE, of which the layer over a data folder is made' 'take a kernel with FUSE (modprobe fuse)'\n\
         lacks 'there is no layer over the data folder' '{MEND}'\nfi\n\
         said=$(\"$folder.layer/agent\" layer-tell \"$folder\" look 2>&1) || lacks \"$said\" '{MEND}'\n",
        folder = place.folder()
    )
}

/// Sets `$folder`, and writes it down.
fn begin(place: &Place) -> String {
    format!(
        "folder={}\n[ -x \"$folder.layer/agent\" ] || fail 'there is no layer over the data folder'\n\
         echo \"$folder\" >\"$notes/folder\" || exit 1\n",
        place.folder()
    )
}

/// Sets `$folder` as it was written down, and ends if the layer went with the system. A dead one is replaced.
const FIND: &str = "folder=\n[ -s \"$notes/folder\" ] && read -r folder <\"$notes/folder\"\n\
    tell() { \"$folder.layer/agent\" layer-tell \"$folder\" \"$@\"; }\n\
    if [ -n \"$folder\" ] && [ -x \"$folder.layer/agent\" ]; then\n\
    if ! tell look >/dev/null 2>&1; then\n\
    \"$folder.layer/agent\" layer-mount \"$folder\" || fail 'the layer had ended, and no other can be made'\n\
    echo 'the layer had ended: its mount is removed, and a new layer is over the folder beneath, which has all that was written'\nfi\n";

pub(super) fn fail(asked: &Asked, place: &Place) -> Scripts {
    let (errno, works) = (asked.word("errno"), asked.word("ops"));
    let share = asked.number("share");
    let inject = format!(
        "{begin}dd if=/dev/zero of=\"$folder/{TRIAL}\" bs=4k count=1 conv=fsync 2>/dev/null || fail 'a write fails before anything was done'\n\
         \"$folder.layer/agent\" layer-tell \"$folder\" refuse {errno} {works} {share} || exit 1\n\
         echo '{share} % of these fail with {errno} in the data folder: {words}'\n",
        begin = begin(place),
        words = words(works),
    );
    let tries = [
        ("read", "dd if=\"$trial\" of=/dev/null bs=4k count=1"),
        (
            "write",
            "dd if=/dev/zero of=\"$trial\" bs=4k count=1 conv=notrunc",
        ),
        ("sync", "sync \"$trial\""),
    ];
    let tries: String = tries
        .into_iter()
        .filter(|(work, _)| works == "all" || works.split('+').any(|word| word == *work))
        .map(|(work, command)| format!("try {work} {command}\n"))
        .collect();
    let observe = format!(
        "folder={folder}\ntrial=\"$folder/{TRIAL}\"\nerror='{text}'\nfailed=\n\
         try() {{ work=$1; shift; case \"$failed\" in *$work*) return ;; esac\n\
         case \"$(\"$@\" 2>&1)\" in *\"$error\"*) failed=\"$failed${{failed:+, }}a $work\" ;; esac; }}\n\
         n=0\nwhile [ -z \"$failed\" ] && [ $n -lt {TRIES} ]; do n=$((n+1))\n{tries}done\n\
         said=$(\"$folder.layer/agent\" layer-tell \"$folder\" look) || fail 'the layer does not answer'\n\
         set -- $(echo \"$said\" | sed -n 's/^refused //p')\n\
         if [ -n \"$failed\" ]; then echo \"seen of ours failed with {errno} ($error): $failed; of the system's until then $1 reads, $2 writes, $3 syncs\"\n\
         else echo \"unseen nothing of ours failed in $n tries\"; fi\n",
        folder = place.folder(),
        text = text(errno),
    );
    let heal = format!(
        "{FIND}said=$(tell pass) || fail 'the layer does not let everything pass'\n\
         set -- $(echo \"$said\" | sed -n 's/^refused //p')\n\
         dd if=/dev/zero of=\"$folder/{TRIAL}\" bs=4k count=1 conv=fsync 2>/dev/null && dd if=\"$folder/{TRIAL}\" of=/dev/null 2>/dev/null; ok=$?\n\
         rm -f \"$folder/{TRIAL}\"\n[ $ok = 0 ] || fail 'a write is still refused'\n\
         echo \"everything passes: a write, a sync and a read succeeded; of the system's had failed $1 reads, $2 writes, $3 syncs\"\n\
         else echo 'the layer is gone, and what failed with it'; fi\n"
    );
    Scripts {
        inject,
        observe,
        heal,
    }
}

/// Its process does not run any more when this strikes.
pub(super) fn lose(place: &Place) -> Scripts {
    let inject = format!(
        "{begin}said=$(\"$folder.layer/agent\" layer-tell \"$folder\" lose) || exit 1\n\
         echo \"$said\" | awk '\n\
         $1 == \"lost\" {{ files++; cut = $4 > 0 ? $4 : 0; bytes += $3 + cut\n\
         if (files <= {TOLD_MAX}) {{ line = $2 \":\"; if ($3 > 0) line = line \" \" $3 \" bytes are as they were,\"\n\
         if ($4 != 0) line = line \" \" cut \" bytes cut off,\"; told = told line \" \" $5 \" bytes long\\n\" }} }}\n\
         $1 == \"given-up\" && $2 > 0 {{ kept = $2 }}\n\
         END {{ if (files) printf \"%d bytes of %d files that were not synced are lost\\n%s\", bytes, files, told; else print \"nothing was un-synced: no byte is lost\"\n\
         if (files > {TOLD_MAX}) printf \"and of %d files more\\n\", files - {TOLD_MAX}\n\
         if (kept) printf \"kept were changes of which there were too many to be undone, %d times\\n\", kept }}' >\"$notes/done\"\n\
         [ -s \"$notes/done\" ] || fail \"the layer said: $said\"\ncat \"$notes/done\"\n",
        begin = begin(place),
    );
    let observe = "if [ -s \"$notes/done\" ]; then echo \"seen $(head -n 1 \"$notes/done\")\"; else echo 'unseen nothing was done'; fi\n".to_owned();
    let heal = format!(
        "{FIND}echo 'the layer answers; what was lost stays lost'\nelse echo 'the layer is gone'; fi\n"
    );
    Scripts {
        inject,
        observe,
        heal,
    }
}

/// What fails, for people.
fn words(works: &str) -> String {
    let of = |work: &str| match work {
        "read" => "reads",
        "write" => "writes",
        _ => "syncs",
    };
    match works {
        "all" => "reads, writes, syncs".to_owned(),
        some => some.split('+').map(of).collect::<Vec<_>>().join(", "),
    }
}

/// What programs say of an error in the locale C.
fn text(errno: &str) -> &'static str {
    match errno {
        "ENOSPC" => "No space left on device",
        "EDQUOT" => "Disk quota exceeded",
        "EROFS" => "Read-only file system",
        _ => "Input/output error",
    }
}
