//! Globs of paths: `*` and `?` within a name, `**` for any folders, none included.

/// A glob from `/` on.
pub(super) struct Glob {
    names: Vec<String>,
}

impl Glob {
    /// None if it does not begin with `/`, or names nothing.
    pub(super) fn new(text: &str) -> Option<Self> {
        let names = text.strip_prefix('/')?.split('/');
        let names: Vec<String> = names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        (!names.is_empty()).then_some(Self { names })
    }

    /// Whether it means that path, given as its names.
    pub(super) fn matches(&self, path: &[&str]) -> bool {
        whole(&self.names, path)
    }

    /// Whether something in that folder, or deeper, can be meant.
    pub(super) fn leads_through(&self, folder: &[&str]) -> bool {
        leads(&self.names, folder)
    }

    /// Whether the glob's name there has no signs: then a link is followed.
    pub(super) fn is_literal(&self, depth: usize) -> bool {
        let literal = |name: &String| !name.contains(['*', '?']);
        self.names.iter().take(depth).all(literal)
    }
}

fn whole(names: &[String], path: &[&str]) -> bool {
    match (names.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((name, rest)), _) if name == "**" => {
            whole(rest, path)
                || path
                    .split_first()
                    .is_some_and(|(_, deeper)| whole(names, deeper))
        }
        (Some((name, names)), Some((first, path))) => one(name, first) && whole(names, path),
        _ => false,
    }
}

fn leads(names: &[String], folder: &[&str]) -> bool {
    match (names.split_first(), folder.split_first()) {
        (Some((name, _)), _) if name == "**" => true,
        (Some(_), None) => true,
        (Some((name, names)), Some((first, folder))) => one(name, first) && leads(names, folder),
        (None, _) => false,
    }
}

/// One name against one pattern.
fn one(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut to) = (0, 0);
    // Where to go on if it fails: after the last star, one letter later.
    let mut star: Option<(usize, usize)> = None;
    while to < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, to));
                at += 1;
            }
            Some(sign) if *sign == '?' || *sign == name[to] => {
                at += 1;
                to += 1;
            }
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                star = Some((after, from + 1));
                (at, to) = (after, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|sign| *sign == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Vec<&str> {
        path.split('/').filter(|name| !name.is_empty()).collect()
    }

    #[test]
    fn globs_mean_paths() {
        for (glob, path, means) in [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/bc", false),
            ("/a/b*", "/a/b", true),
            ("/a/*-?-*", "/a/open-1-x", true),
            ("/a/*-?-*", "/a/open-12-x", false),
            ("/a/*ab", "/a/aab", true),
            ("/a/*", "/a/b/c", false),
            ("/a/**/c", "/a/c", true),
            ("/a/**/c", "/a/b/b/c", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**/*.tmp", "/a/b/c.tmp", true),
            ("/a/**/*.tmp", "/b/c.tmp", false),
        ] {
            let glob_of = Glob::new(glob).unwrap();
            assert_eq!(glob_of.matches(&names(path)), means, "{glob} {path}");
        }
        assert!(Glob::new("a/b").is_none() && Glob::new("/").is_none());
    }

    #[test]
    fn folders_on_the_way_are_known() {
        for (glob, folder, leads) in [
            ("/a/b/c", "/", true),
            ("/a/b/c", "/a/b", true),
            ("/a/b/c", "/a/b/c", false),
            ("/a/b/c", "/b", false),
            ("/a/*/c", "/a/x", true),
            ("/a/**", "/a/x/y", true),
            ("/a/**/c", "/b", false),
        ] {
            let glob_of = Glob::new(glob).unwrap();
            assert_eq!(
                glob_of.leads_through(&names(folder)),
                leads,
                "{glob} {folder}"
            );
        }
        let glob = Glob::new("/a/b*/c").unwrap();
        assert!(glob.is_literal(1) && !glob.is_literal(2));
    }
}
