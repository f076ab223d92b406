//! What a layer is told and asked, by whoever may open its socket.
//!
//! | words | does | says after `ok` |
//! | --- | --- | --- |
//! | `look` | nothing | `rule RULE`, `refused READS WRITES SYNCS`, `unsynced FILES`, `given-up TIMES` |
//! | `refuse ERRNO WORKS PERCENT` | from now on these fail | nothing |
//! | `pass` | everything passes again | as `look` |
//! | `lose` | loses what was not synced, once nobody has a file open to be written | `lost NAME PUT_BACK CUT_OFF LENGTH` for each file, in bytes, and the words of `look` |

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use super::{Layer, gate::Rule};

/// How long an answer may take: losing what was not synced writes old bytes back.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);
/// How long whoever connects may take to say what it wants.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of a question, at most.
const QUESTION_BYTES: u64 = 1024;
/// Bytes of an answer, at most.
const ANSWER_BYTES: u64 = 4 << 20;

/// Where what belongs to a layer over a folder is.
pub fn beside(folder: &Path, name: &str) -> PathBuf {
    let mut whole = folder.as_os_str().to_owned();
    whole.push(".layer");
    Path::new(&whole).join(name)
}

/// Asks the layer over a folder; what it said after `ok`.
pub fn ask(folder: &Path, words: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(beside(folder, "control"))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(format!("{words}\n").as_bytes())?;
    let mut said = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut said)?;
    match said.strip_prefix("ok\n") {
        Some(rest) => Ok(rest.to_owned()),
        None => Err(io::Error::other(
            said.strip_prefix("error ")
                .unwrap_or(&said)
                .trim()
                .to_owned(),
        )),
    }
}

/// `layer-tell FOLDER WORD...`: prints what the layer said.
pub fn main_tell(arguments: &[String]) -> ExitCode {
    let [folder, words @ ..] = arguments else {
        return ExitCode::FAILURE;
    };
    match ask(Path::new(folder), &words.join(" ")) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the layer over {folder} does not answer: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Layer {
    /// Answers whoever connects, one after the other.
    pub(super) fn listen(self: &Arc<Self>, listener: UnixListener) {
        let layer = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever has gone needs no answer.
                let _ = layer.hear(&stream);
            }
        });
    }

    fn hear(&self, mut stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(QUESTION_LIMIT))?;
        let mut line = String::new();
        BufReader::new(stream.take(QUESTION_BYTES)).read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = match self.obey(&words) {
            Ok(said) => format!("ok\n{said}"),
            Err(why) => format!("error {why}\n"),
        };
        stream.write_all(said.as_bytes())
    }

    fn obey(&self, words: &[&str]) -> Result<String, String> {
        match words {
            ["look"] => Ok(self.look()),
            ["refuse", rule @ ..] => {
                let rule = Rule::parse(rule).ok_or("that is no rule")?;
                self.gate.set(Some(rule));
                Ok(String::new())
            }
            ["pass"] => {
                self.gate.set(None);
                Ok(self.look())
            }
            ["lose"] => {
                self.wait_for_writers()?;
                let lost = self.lose().map_err(|error| error.to_string())?;
                let mut said = String::new();
                for one in lost {
                    // Writing to a String cannot fail.
                    let _ = writeln!(
                        said,
                        "lost {} {} {} {}",
                        one.name.replace(char::is_whitespace, "?"),
                        one.put_back_bytes,
                        one.cut_off_bytes,
                        one.length_bytes
                    );
                }
                Ok(said + &self.look())
            }
            _ => Err("there are look, refuse, pass and lose".to_owned()),
        }
    }

    fn look(&self) -> String {
        format!(
            "{}unsynced {}\ngiven-up {}\n",
            self.gate.tell(),
            self.unsynced(),
            self.given_up.load(Ordering::Relaxed)
        )
    }
}
