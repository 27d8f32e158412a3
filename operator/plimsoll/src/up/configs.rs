//! The configurations of servers of our own: made of a file of the directory, brought to the server whenever that changes,
//! and taken back where it refuses one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

use super::{data::Data, say::Say};
use crate::{
    cli::out::Stop,
    source::{
        Documents, Node,
        files::shown,
        tree::{Data as Tree, Pos},
    },
};

/// A configuration as it is to be, and the text of the file that it is made of.
#[derive(Debug, Default)]
pub struct Made {
    /// Of the server.
    pub config: Value,
    /// Of the directory; empty where there is no file.
    pub source: String,
    /// What is told when the server has taken it: `2 jobs scraped`.
    pub taken: String,
    /// What does not work with it; may be empty.
    pub lacks: String,
}

/// The configuration of one server.
pub struct Config {
    /// What the server is called.
    server: &'static str,
    /// The file of the directory.
    file: PathBuf,
    /// The file that the server reads, in the data folder.
    name: &'static str,
    url: String,
    http: reqwest::Client,
    data: Arc<Data>,
    say: Say,
    /// The one with which the server works.
    accepted: Option<String>,
    /// The one that is written.
    written: String,
}

/// Why a server did not take a configuration.
enum Reload {
    /// It does not answer.
    Away,
    /// In its words.
    Refused(String),
}

impl Config {
    /// Of a server at this address, which reads `name` of the data folder; made of `name` of the directory.
    pub fn new(
        (server, name, url): (&'static str, &'static str, &str),
        directory: &Path,
        http: &reqwest::Client,
        data: &Arc<Data>,
        say: &Say,
    ) -> Self {
        Self {
            server,
            file: directory.join(name),
            name,
            url: url.trim_end_matches('/').to_owned(),
            http: http.clone(),
            data: Arc::clone(data),
            say: say.clone(),
            accepted: None,
            written: String::new(),
        }
    }

    /// The file of the directory.
    pub fn file(&self) -> String {
        shown(&self.file)
    }

    /// Whether there is none yet.
    pub fn is_new(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether the server answers.
    pub async fn is_ready(&self) -> bool {
        let url = format!("{}/-/ready", self.url);
        self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Notes that the server has started with what is written.
    pub fn works(&mut self) {
        self.accepted = Some(self.written.clone());
    }

    /// Brings it to the server. One that the server refuses is taken back: it could not start with it again.
    pub async fn bring(&mut self, made: Made) {
        let text = format!("{:#}", made.config);
        if text == self.written {
            return;
        }
        if self.accepted.is_none() && !self.is_new() && self.is_ready().await {
            self.works();
        }
        if !made.lacks.is_empty() {
            self.say.trouble(&made.lacks);
        }
        let first = self.is_new();
        self.written.clone_from(&text);
        if let Err(Stop::Failed(why, _)) = self.data.write(self.name, &text) {
            self.say.trouble(&why);
            return;
        }
        if first {
            return;
        }
        let (file, server) = (self.file(), self.server);
        match self.reload().await {
            Ok(()) => {
                self.accepted = Some(text);
                self.say.news(&format!("{file}: {}", made.taken));
            }
            // It does not run yet, or not with the configuration before this one.
            Err(_) if self.accepted.is_none() => {
                self.say.news(&format!("{file}: {server} reads it when it is started again"));
            }
            Err(Reload::Away) => {
                self.say.trouble(&format!("{file}: {server} does not answer; it reads it when it is started again"));
            }
            Err(Reload::Refused(why)) => {
                let why = told(&why, &self.data.join(self.name), &file, &text, &made.source);
                self.say.trouble(&format!("{why}\n  {server} does not take this, and goes on as it was before"));
                if let Some(Err(Stop::Failed(why, _))) =
                    self.accepted.as_ref().map(|good| self.data.write(self.name, good))
                {
                    self.say.trouble(&why);
                }
            }
        }
    }

    async fn reload(&self) -> Result<(), Reload> {
        let url = format!("{}/-/reload", self.url);
        let Ok(answer) = self.http.post(url).send().await else { return Err(Reload::Away) };
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = crate::prometheus::bounded_text(answer, 4096).await;
        Err(Reload::Refused(if body.trim().is_empty() { status.to_string() } else { body }))
    }
}

/// What a server says of a file that we have written, as of the one that it was made of: `FILE:LINE: WHY`, a line for each.
fn told(why: &str, written: &Path, file: &str, text: &str, source: &str) -> String {
    let written = written.display().to_string();
    // Before it stands what was done, after it why that failed.
    let why = why.rsplit_once(&written).map_or(why, |(_, why)| why);
    let why = why.trim_start_matches(['"', ')', ':', ' ']).trim_start_matches("failed to reload config: ");
    let lines: Vec<String> = why
        .lines()
        .filter_map(|line| {
            let line = line.trim();
            let numbered = line.split_once("line ").and_then(|(_, rest)| rest.split_once(": "));
            let numbered = numbered.and_then(|(number, rest)| Some((number.parse().ok()?, rest)));
            let (number, rest) = numbered.map_or((None, line), |(number, rest)| (Some(number), rest));
            let own = number.and_then(|number| origin(text, number, source));
            match own {
                Some(own) => Some(format!("{file}:{own}: {rest}")),
                // The heading of a list of lines.
                None if rest.is_empty() || rest.ends_with("unmarshal errors:") => None,
                None => Some(format!("{file}: {rest}")),
            }
        })
        .collect();
    if lines.is_empty() { format!("{file}: {}", why.trim()) } else { lines.join("\n") }
}

/// A step from a value to one in it.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Item(usize),
}

/// The line of the source from which a line of the written text comes.
fn origin(text: &str, line: u32, source: &str) -> Option<u32> {
    let written = Documents::new(text).next()?.node?;
    let mut path = Vec::new();
    if !find(&written, line, &mut path) {
        return None;
    }
    // The route of the file is one of ours: see `servers::routes`.
    if let [Step::Key(a), Step::Key(b), Step::Item(1), rest @ ..] = path.as_slice()
        && (a.as_str(), b.as_str()) == ("route", "routes")
    {
        path = [Step::Key("route".to_owned())].into_iter().chain(rest.iter().cloned()).collect();
    }
    let source = Documents::new(source).next()?.node?;
    let (mut node, mut found) = (&source, None);
    for step in &path {
        let next: Option<(Pos, &Node<'_>)> = match (&node.data, step) {
            (Tree::Map(entries), Step::Key(key)) => {
                entries.iter().find(|entry| entry.key == key.as_str()).map(|entry| (entry.pos, &entry.value))
            }
            (Tree::List(items), Step::Item(place)) => items.get(*place).map(|item| (item.pos, item)),
            _ => None,
        };
        let Some((pos, below)) = next else { break };
        (node, found) = (below, Some(pos.line));
    }
    found
}

/// The way to what begins in this line.
fn find(node: &Node<'_>, line: u32, path: &mut Vec<Step>) -> bool {
    let mut look = |step: Step, pos: Pos, below: &Node<'_>| {
        path.push(step);
        let found = pos.line == line || find(below, line, path);
        if !found {
            path.pop();
        }
        found
    };
    match &node.data {
        Tree::Scalar { .. } => false,
        Tree::List(items) => items.iter().enumerate().any(|(place, item)| look(Step::Item(place), item.pos, item)),
        Tree::Map(entries) => {
            entries.iter().any(|entry| look(Step::Key(entry.key.clone().into_owned()), entry.pos, &entry.value))
        }
    }
}

#[cfg(test)]
#[path = "configs_tests.rs"]
mod tests;
