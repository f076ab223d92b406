//! Damage to a file of the data folder, and putting it right.
//!
//! Putting it right must not be damage of its own: a file is restored only if it is still as the fault left it, in the folder that it was in.
//! One that the system has written, renamed or removed since is the system's own work, and is left.

use super::{
    Asked, Condition,
    script::{Place, Scripts},
};

/// The largest file that is saved before it is damaged, in bytes.
const SAVED_MAX_BYTES: u64 = 256 << 20;

pub(super) fn check() -> String {
    "for tool in find od dd cmp truncate stat; do command -v $tool >/dev/null || lacks \"the node has no $tool\" 'install coreutils, findutils and diffutils'; done\n"
        .to_owned()
}

/// `INODE BIRTH` of a folder: another one of the same name is not it.
const IDENTITY: &str =
    "identity() { stat -c '%d %i %W' \"$(dirname \"$1\")\" 2>/dev/null | tr ' ' :; }\n";

pub(super) fn damage(asked: &Asked, place: &Place) -> Scripts {
    let folder = place.folder();
    let pattern = asked.word("file");
    let strike = match asked.condition {
        Condition::Bitflip => format!(
            "at=$((size * {percent} / 100)); [ $at -lt $size ] || at=$((size - 1))\n\
             old=$(od -An -tu1 -j $at -N 1 \"$file\" | tr -d ' ')\nnew=$((old ^ 1))\n\
             printf \"\\\\$(printf %o $new)\" | dd of=\"$file\" bs=1 seek=$at conv=notrunc,fsync 2>/dev/null || fail 'it cannot be written'\n\
             echo \"byte $at of $size of $name: $old is $new now\" >\"$notes/done\"\n",
            percent = asked.number("at"),
        ),
        Condition::Truncate => format!(
            "left=$((size * {percent} / 100)); [ $left -lt $size ] || left=$((size - 1))\n\
             truncate -s $left \"$file\" || fail 'it cannot be written'\n\
             echo \"$name has $left of its $size bytes\" >\"$notes/done\"\n",
            percent = asked.number("keep"),
        ),
        _ => "rm -f \"$file\" || fail 'it cannot be removed'\necho \"$name of $size bytes is removed\" >\"$notes/done\"\n"
            .to_owned(),
    };
    let after = match asked.condition {
        Condition::Remove => "[ ! -e \"$file\" ] || fail 'it is still there'\n",
        _ => {
            "cp -p \"$file\" \"$notes/damaged\" || exit 1\ncmp -s \"$file\" \"$notes/saved\" && fail 'it is as it was'\n"
        }
    };
    let inject = format!(
        "{IDENTITY}folder={folder}\n[ -d \"$folder\" ] || fail 'there is no data folder'\n\
         file=$(find \"$folder\" -xdev -type f -size +0 -name '{pattern}' ! -name '.harness-*' -printf '%T@ %p\\n' | sort -rn | head -n 1 | cut -d' ' -f2-)\n\
         [ -n \"$file\" ] || fail 'no file of the data folder is called {pattern}'\n\
         name=${{file#\"$folder\"/}}\nsize=$(stat -c %s \"$file\")\n\
         [ $size -le {SAVED_MAX_BYTES} ] || fail \"$name is too large to be saved: $size bytes\"\n\
         cp -p \"$file\" \"$notes/saved\" && sync \"$notes/saved\" || exit 1\n\
         echo \"$(identity \"$file\") $file\" >\"$notes/file\" || exit 1\n{strike}sync\n{after}cat \"$notes/done\"\n"
    );
    let observe = "if [ -s \"$notes/done\" ]; then echo \"seen $(cat \"$notes/done\")\"; else echo 'unseen nothing was done'; fi\n".to_owned();
    let is_as_left = match asked.condition {
        Condition::Remove => "[ ! -e \"$file\" ]",
        _ => "cmp -s \"$file\" \"$notes/damaged\"",
    };
    let heal = format!(
        "{IDENTITY}where= file=\n[ -s \"$notes/file\" ] && read -r where file <\"$notes/file\"\n\
         if [ -z \"$file\" ]; then echo 'no file was struck'\n\
         elif [ \"$(identity \"$file\")\" != \"$where\" ]; then echo \"the folder of $file was made anew: nothing is put back\"\n\
         elif [ -s \"$notes/saved\" ] && cmp -s \"$file\" \"$notes/saved\"; then echo \"$file is as it was\"\n\
         elif {is_as_left}; then\n\
         cp -p \"$notes/saved\" \"$file\" && sync \"$file\" || fail \"$file cannot be put back\"\n\
         cmp -s \"$file\" \"$notes/saved\" || fail \"$file is not as it was\"\necho \"$file is put back as it was\"\n\
         else echo \"$file was changed by the system since: it is left as it is\"; fi\n"
    );
    Scripts {
        inject,
        observe,
        heal,
    }
}
