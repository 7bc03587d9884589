//! Compares two structures by what `Debug` prints, field by field and name by name.
//!
//! Equal bytes cannot tell whether two neighbouring fields of one type have swapped their names;
//! this can.

use purlin::protocol::ErrorCode;
use purlin::types::{DirectoryId, TopicId};

/// Fields of versions that the witness does not know; `golden` has them.
const WITHOUT_WITNESS: [&str; 1] = ["is_cordoned"];

/// Fields of versions that the witness names, though it does not know the version itself.
const WITNESS_ALONE: [&str; 4] =
    ["enable_2_pc", "keep_prepared_txn", "ongoing_txn_producer_id", "ongoing_txn_producer_epoch"];

/// What `Debug` printed, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    Nothing,
    Number(i64),
    /// Text, bytes (as printed) and ids (as hexadecimal digits).
    Text(String),
    List(Vec<Tree>),
    Struct(Vec<(String, Tree)>),
}

impl Tree {
    pub fn of(value: &impl std::fmt::Debug) -> Self {
        let text = format!("{value:?}");
        let mut parser = Parser { rest: &text };
        let tree = parser.value();
        assert_eq!(parser.rest, "", "in {text}");
        tree
    }

    /// Null and empty count as equal: that they stay apart is for the comparison of bytes.
    fn is_empty(&self) -> bool {
        match self {
            Self::Nothing | Self::Number(0) => true,
            Self::Text(text) => text.chars().all(|c| c == '0'),
            Self::List(list) => list.is_empty(),
            _ => false,
        }
    }
}

/// Fails, naming the field, unless the two agree.
pub fn assert_same(ours: &Tree, theirs: &Tree, path: &str) {
    match (ours, theirs) {
        (Tree::Struct(ours), Tree::Struct(theirs)) => {
            let ours: Vec<_> =
                ours.iter().filter(|(name, _)| !WITHOUT_WITNESS.contains(&name.as_str())).collect();
            let theirs: Vec<_> =
                theirs.iter().filter(|(name, _)| !WITNESS_ALONE.contains(&name.as_str())).collect();
            assert_eq!(ours.len(), theirs.len(), "fields of {path}");
            for (name, value) in ours {
                let theirs = theirs.iter().find(|(other, _)| other == name);
                let (_, theirs) = theirs.unwrap_or_else(|| panic!("{path}.{name} is ours alone"));
                assert_same(value, theirs, &format!("{path}.{name}"));
            }
        }
        (Tree::List(ours), Tree::List(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "entries of {path}");
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                assert_same(ours, theirs, &format!("{path}[{index}]"));
            }
        }
        _ => assert!(
            ours == theirs || (ours.is_empty() && theirs.is_empty()),
            "{path}: {ours:?} is not {theirs:?}"
        ),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    fn value(&mut self) -> Tree {
        if self.eat("[") {
            return Tree::List(self.list("]"));
        }
        if self.eat("{") {
            // The witness keeps unknown tagged fields in a map; skipped, as bytes cover them.
            while !self.eat("}") {
                self.value();
                self.eat(": ");
                self.value();
                self.eat(", ");
            }
            return Tree::Nothing;
        }
        if self.eat("b\"") || self.eat("\"") {
            return Tree::Text(self.quoted());
        }
        let word = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        if self.eat(" { ") {
            return self.structure();
        }
        if self.eat("(") {
            return self.wrapped(&word);
        }
        atom(&word)
    }

    fn list(&mut self, end: &str) -> Vec<Tree> {
        let mut entries = Vec::new();
        while !self.eat(end) {
            entries.push(self.value());
            self.eat(", ");
        }
        entries
    }

    fn quoted(&mut self) -> String {
        let mut text = String::new();
        let mut escaped = false;
        for (at, c) in self.rest.char_indices() {
            if c == '"' && !escaped {
                self.rest = &self.rest[at + 1..];
                return text;
            }
            escaped = c == '\\' && !escaped;
            text.push(c);
        }
        panic!("a quote does not end");
    }

    fn structure(&mut self) -> Tree {
        let mut fields = Vec::new();
        while !self.eat(" }") {
            let name = self.take_while(|c| c.is_alphanumeric() || c == '_');
            assert!(self.eat(": "), "a field without a value before {:?}", self.rest);
            let value = self.value();
            if name != "unknown_tagged_fields" {
                fields.push((name, value));
            }
            self.eat(", ");
        }
        Tree::Struct(fields)
    }

    /// The inside of `Some(…)`, a newtype, or a list of pairs.
    fn wrapped(&mut self, word: &str) -> Tree {
        if word == "TopicId" || word == "DirectoryId" {
            let text = self.take_while(|c| c != ')');
            self.eat(")");
            let bytes = TopicId::parse(&text).map(|id| id.0);
            let bytes = bytes.or(DirectoryId::parse(&text).map(|id| id.0)).expect("an id");
            return Tree::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        let mut inside = self.list(")");
        if inside.len() == 1 { inside.remove(0) } else { Tree::List(inside) }
    }
}

fn atom(word: &str) -> Tree {
    if let Ok(number) = word.parse() {
        return Tree::Number(number);
    }
    let digits: String = word.chars().filter(|c| *c != '-').collect();
    if digits.len() == 32 && word.len() == 36 {
        return Tree::Text(digits);
    }
    match word {
        "None" => Tree::Nothing,
        "true" => Tree::Number(1),
        "false" => Tree::Number(0),
        _ => {
            let known = ErrorCode::ALL.iter().find(|code| format!("{code:?}") == word);
            let code = known.unwrap_or_else(|| panic!("{word} is not an error code"));
            Tree::Number(i64::from(code.to_i16()))
        }
    }
}

#[test]
fn swapped_names_are_found() {
    #[derive(Debug)]
    #[allow(dead_code)]
    struct Ours {
        a: i32,
        b: i32,
    }
    mod theirs {
        #[derive(Debug)]
        #[allow(dead_code)]
        pub struct Theirs {
            pub b: i32,
            pub a: i32,
        }
    }
    let ours = Tree::of(&Ours { a: 1, b: 2 });
    assert_same(&ours, &Tree::of(&theirs::Theirs { b: 2, a: 1 }), "");
    let swapped = Tree::of(&theirs::Theirs { b: 1, a: 2 });
    assert!(std::panic::catch_unwind(|| assert_same(&ours, &swapped, "")).is_err());
}
