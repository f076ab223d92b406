//! What `lxc cluster add` prints: a token. Pure.
//!
//! A token is base64 of `{"server_name":"n4","fingerprint":"…","addresses":["10.0.3.11:8443"],"secret":"…","expires_at":"…"}`.
//! LXD gives one for any name, also for one that is taken.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

/// Longest token that is taken, in bytes: each online member's address is in it.
const TOKEN_LIMIT_BYTES: usize = 16 * 1024;

#[derive(Deserialize)]
struct Content {
    server_name: String,
    secret: String,
}

/// The token for `member` in what was printed: the last line that is one.
///
/// # Errors
/// What is wrong with it, without the secret.
pub fn parse(printed: &str, member: &str) -> Result<String, String> {
    let line = printed
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .ok_or("nothing was printed")?;
    if line.len() > TOKEN_LIMIT_BYTES {
        return Err(format!("it is longer than {TOKEN_LIMIT_BYTES} bytes"));
    }
    let bytes = STANDARD.decode(line).map_err(|_| "it is not base64")?;
    let content: Content = serde_json::from_slice(&bytes)
        .map_err(|error| format!("it does not hold what it should ({:?})", error.classify()))?;
    if content.server_name != member {
        return Err(format!(
            "it is for {}, not for {member}",
            content.server_name
        ));
    }
    if content.secret.is_empty() {
        return Err("it holds no secret".to_owned());
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_and_nothing_else() {
        let good = STANDARD.encode(
            r#"{"server_name":"n4","fingerprint":"e5","addresses":["10.88.0.11:8443"],"secret":"1e","expires_at":"2026-11-22T10:31:53Z"}"#,
        );
        let bare = STANDARD.encode(r#"{"server_name":"n4","secret":""}"#);
        let other = STANDARD.encode(r#"["n4"]"#);
        for printed in [
            good.clone(),
            format!("Member n4 join token:\n{good}\n"),
            format!("{good}\r\n\n"),
        ] {
            assert_eq!(parse(&printed, "n4"), Ok(good.clone()));
        }
        for (printed, member) in [
            (good.as_str(), "n5"),
            (bare.as_str(), "n4"),
            (other.as_str(), "n4"),
            ("Member n4 join token:", "n4"),
            ("", "n4"),
        ] {
            assert!(parse(printed, member).is_err(), "{printed:?}");
        }
    }
}
