//! A data folder that is full, or stands still: only where it is a mount of its own and of limited size.
//!
//! Slow writes: the file system is frozen and thawed in turn. Who writes to a frozen file system waits and cannot even be killed, so
//! the one that freezes runs on the node, writes nothing there, thaws whatever happens to it but SIGKILL, and ends by itself.

use super::{
    Asked,
    script::{Place, Scripts},
};

/// The largest mount that is filled, in KiB: 4 GiB.
const MOUNT_MAX_KIB: u64 = 4 << 20;
/// What fills it; nobody's pattern of a data file.
const BALLOON: &str = ".harness-balloon";
/// What is written to see that writing works, or how long it takes.
const TRIAL: &str = ".harness-trial";
/// The last bytes are written one by one until a write is refused.
const LAST_BYTES: u64 = 1 << 20;
/// How long the node goes on freezing if nobody ends it, in seconds.
const SLOW_MAX_S: u32 = 1_800;
/// How to get such a mount.
const MEND: &str =
    "give the run --data-size 64MiB (dqlite), or mount a small file system on the data folder";

fn check_own(place: &Place) -> String {
    format!(
        "folder={folder}\n[ -d \"$folder\" ] || lacks 'there is no data folder' '{MEND}'\n\
         [ \"$(stat -c %m \"$folder\")\" = \"$folder\" ] || lacks 'the data folder is no mount of its own' '{MEND}'\n\
         kib=$(df -Pk \"$folder\" | awk 'NR == 2 {{ print $2 }}')\n\
         [ \"$kib\" -le {MOUNT_MAX_KIB} ] || lacks \"the data folder's mount has $kib KiB, more than {MOUNT_MAX_KIB}\" '{MEND}'\n",
        folder = place.folder()
    )
}

pub(super) fn check_mount(place: &Place) -> String {
    check_own(place)
}

pub(super) fn check_freeze(place: &Place) -> String {
    format!(
        "command -v fsfreeze >/dev/null && command -v setsid >/dev/null || lacks 'the node has no fsfreeze' 'install util-linux'\n{}\
         type=$(stat -f -c %T \"$folder\")\n\
         case \"$type\" in ext*|xfs|btrfs|f2fs) ;; *) lacks \"a file system of type $type cannot be frozen\" '{MEND}' ;; esac\n",
        check_own(place)
    )
}

/// Sets `$free` to the KiB that are free.
const FREE: &str = "free=$(df -Pk \"$folder\" | awk 'NR == 2 { print $4 }')\n";

pub(super) fn full(asked: &Asked, place: &Place) -> Scripts {
    let folder = place.folder();
    let keep = asked.number("keep");
    let fill =
        format!("dd if=/dev/zero of=\"$folder/{BALLOON}\" bs=4k conv=fsync,notrunc oflag=append");
    let inject = format!(
        "folder={folder}\n[ \"$(stat -c %m \"$folder\")\" = \"$folder\" ] || fail 'the data folder is no mount of its own'\n\
         echo \"$folder\" >\"$notes/folder\" || exit 1\n{FREE}\
         bytes=$((free * 1024 - ({keep} ? {keep} : {LAST_BYTES})))\n\
         [ $bytes -le 0 ] || fallocate -l $bytes \"$folder/{BALLOON}\"\n\
         if [ {keep} = 0 ]; then said=$({fill} 2>&1)\n\
         case \"$said\" in *'No space left on device'*) echo 'a write was refused (ENOSPC: No space left on device)' >\"$notes/said\" ;; *) fail \"it was not filled: $said\" ;; esac\n\
         else echo 'filled up to what is to be kept' >\"$notes/said\"; fi\n\
         echo \"$(stat -c %s \"$folder/{BALLOON}\" 2>/dev/null || echo 0) bytes put into {BALLOON}\"\n"
    );
    // A write of our own tells; what the system frees meanwhile it may use again.
    let observe = format!(
        "folder={folder}\n{FREE}said=$(head -n 1 \"$notes/said\")\n\
         if [ -e \"$folder/{BALLOON}\" ] && [ $((free * 1024)) -le $(({keep} + {LAST_BYTES})) ]; then echo \"seen $said, $free KiB free\"\n\
         else echo \"unseen $free KiB free\"; fi\n"
    );
    let heal = format!(
        "folder=\n[ -s \"$notes/folder\" ] && read -r folder <\"$notes/folder\"\n\
         if [ -n \"$folder\" ] && [ -d \"$folder\" ]; then\n\
         rm -f \"$folder/{BALLOON}\" || fail 'the balloon cannot be removed'\n\
         dd if=/dev/zero of=\"$folder/{TRIAL}\" bs=4k count=1 conv=fsync 2>/dev/null; ok=$?\n\
         rm -f \"$folder/{TRIAL}\"\n[ $ok = 0 ] || fail 'a write is still refused'\n{FREE}\
         echo \"{BALLOON} is removed, a write succeeded, $free KiB free\"\n\
         else echo 'the data folder is gone, and what filled it'; fi\n"
    );
    Scripts {
        inject,
        observe,
        heal,
    }
}

/// Seconds for `sleep`.
pub(super) fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

pub(super) fn slow(asked: &Asked, place: &Place) -> Scripts {
    let folder = place.folder();
    let stall = asked.number("stall");
    let pause = (asked.number("every") - stall).max(1);
    let inject = format!(
        "folder={folder}\n[ \"$(stat -c %m \"$folder\")\" = \"$folder\" ] || fail 'the data folder is no mount of its own'\n\
         echo \"$folder\" >\"$notes/folder\" && : >\"$notes/on\" || exit 1\n\
         cat >\"$notes/freeze\" <<'END'\n\
         echo $$ >\"$2/pid\"\n\
         trap 'fsfreeze -u \"$1\" 2>/dev/null; exit 0' TERM INT HUP\n\
         end=$(($(cut -d. -f1 /proc/uptime) + {SLOW_MAX_S}))\n\
         while [ -e \"$2/on\" ] && [ \"$(cut -d. -f1 /proc/uptime)\" -lt $end ]; do\n\
         fsfreeze -f \"$1\" || break\n\
         sleep {stall} & wait $!\n\
         fsfreeze -u \"$1\"\n\
         sleep {pause} & wait $!\n\
         done\n\
         fsfreeze -u \"$1\" 2>/dev/null\n\
         rm -f \"$2/pid\"\nEND\n\
         setsid sh \"$notes/freeze\" \"$folder\" \"$notes\" </dev/null >/dev/null 2>&1 &\n\
         n=0\nuntil [ -s \"$notes/pid\" ]; do n=$((n+1)); [ $n -le 100 ] || fail 'nobody began to freeze it'; sleep 0.05; done\n\
         echo \"the data folder's file system is frozen for {stall} s, then not for {pause} s, again and again\"\n",
        stall = seconds(stall),
        pause = seconds(pause),
    );
    let observe = format!(
        "folder={folder}\nbefore=$(date +%s%N)\n\
         dd if=/dev/zero of=\"$folder/{TRIAL}\" bs=4k count=1 conv=fsync 2>/dev/null || {{ echo 'unseen a write failed'; exit 0; }}\n\
         ms=$((($(date +%s%N) - before) / 1000000))\nrm -f \"$folder/{TRIAL}\"\n\
         if [ $ms -ge {} ]; then echo \"seen a write took $ms ms\"; else echo \"unseen a write took $ms ms\"; fi\n",
        (stall / 4).max(1)
    );
    let heal = format!(
        "folder= pid=\n[ -s \"$notes/folder\" ] && read -r folder <\"$notes/folder\"\nrm -f \"$notes/on\"\n\
         [ -s \"$notes/pid\" ] && read -r pid <\"$notes/pid\"\n\
         if [ -n \"$pid\" ]; then\n\
         n=0\nwhile grep -q \"$notes/freeze\" \"/proc/$pid/cmdline\" 2>/dev/null; do\n\
         [ $n = 0 ] && kill -TERM \"$pid\" 2>/dev/null\n\
         n=$((n+1)); [ $n -le 1400 ] || fail \"process $pid goes on freezing\"; sleep 0.05; done\nfi\n\
         if [ -n \"$folder\" ] && [ -d \"$folder\" ]; then\n\
         fsfreeze -u \"$folder\" 2>/dev/null\n\
         timeout 5 dd if=/dev/zero of=\"$folder/{TRIAL}\" bs=4k count=1 conv=fsync 2>/dev/null || fail 'a write does not end'\n\
         rm -f \"$folder/{TRIAL}\"\necho 'nobody freezes the file system, and a write succeeded'\n\
         else echo 'the data folder is gone'; fi\n"
    );
    Scripts {
        inject,
        observe,
        heal,
    }
}
