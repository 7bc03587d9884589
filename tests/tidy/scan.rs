//! A small reader of Rust sources: tokens, paths, what is test code, where functions end.
//!
//! It knows as much of the language as the checks need: comments, strings, raw strings,
//! lifetimes, use-trees, inline modules and `#[cfg(test)]`.

use std::path::Path;

/// One token and the line that it starts on (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// A path that the code names, with `use` trees taken apart and `super` and `self` resolved.
#[derive(Debug, Clone)]
pub struct NamedPath {
    /// The segments; paths within this crate begin with `crate`.
    pub segments: Vec<String>,
    /// The line of its first segment.
    pub line: usize,
    /// Whether it stands in code that is compiled for tests alone.
    pub in_test: bool,
}

/// A function and its size.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

/// One source file, read.
#[derive(Debug)]
pub struct Source {
    /// Path from the top directory, with forward slashes.
    pub name: String,
    /// The module path that the file has, without `crate`.
    pub module: Vec<String>,
    /// The whole text.
    pub text: String,
    /// The paths that it names.
    pub paths: Vec<NamedPath>,
    /// Every identifier, with its line.
    pub idents: Vec<(String, usize)>,
    /// Whether the whole file is test code.
    pub test_only: bool,
    tokens: Vec<Token>,
    test_lines: Vec<(usize, usize)>,
}

/// Reads every `.rs` file below `folder`, in order of their names.
pub fn sources(folder: &Path, root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    let mut found: Vec<Source> = files
        .into_iter()
        .map(|path| {
            let name =
                path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            let text =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            Source::parse(&name, text)
        })
        .collect();
    // `#[cfg(test)] mod x;` makes the file of `x`, and all below it, test code.
    let test_modules: Vec<Vec<String>> = found.iter().flat_map(Source::test_modules).collect();
    for source in &mut found {
        source.test_only = test_modules.iter().any(|module| source.module.starts_with(module));
    }
    found
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "node_modules" | "corpus" | "artifacts") {
                collect(&path, files);
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

fn module_of(name: &str) -> Vec<String> {
    let path = name.strip_prefix("src/").unwrap_or(name);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The end of a quoted text that starts at `from` with `"`.
fn end_of_string(letters: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < letters.len() && letters[at] != '"' {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of a raw string whose `r` is at `from`, if one starts there.
fn end_of_raw_string(letters: &[char], from: usize) -> Option<usize> {
    let mut at = from + 1;
    let mut hashes = 0;
    while letters.get(at) == Some(&'#') {
        hashes += 1;
        at += 1;
    }
    if letters.get(at) != Some(&'"') {
        return None;
    }
    at += 1;
    while at < letters.len() {
        if letters[at] == '"' && (1..=hashes).all(|step| letters.get(at + step) == Some(&'#')) {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(at)
}

/// The end of a block comment that starts at `from`; they nest.
fn end_of_comment(letters: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < letters.len() {
        match (letters[at], letters.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The end of a character literal that starts at `from`, or `None` for a lifetime.
fn end_of_char(letters: &[char], from: usize) -> Option<usize> {
    if letters.get(from + 1) == Some(&'\\') {
        let mut at = from + 3;
        while at < letters.len() && letters[at] != '\'' {
            at += 1;
        }
        return Some(at + 1);
    }
    (letters.get(from + 2) == Some(&'\'')).then_some(from + 3)
}

fn tokenize(text: &str) -> Vec<Token> {
    let letters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < letters.len() {
        let letter = letters[at];
        let next = letters.get(at + 1).copied();
        let end = match letter {
            '/' if next == Some('/') => {
                let rest = letters[at..].iter().position(|letter| *letter == '\n');
                rest.map_or(letters.len(), |length| at + length)
            }
            '/' if next == Some('*') => end_of_comment(&letters, at),
            '"' => end_of_string(&letters, at),
            'r' if matches!(next, Some('"' | '#')) && end_of_raw_string(&letters, at).is_some() => {
                end_of_raw_string(&letters, at).unwrap_or(at + 1)
            }
            '\'' => end_of_char(&letters, at).unwrap_or(at + 1),
            _ if letter.is_whitespace() => at + 1,
            _ if is_word(letter) => {
                let mut end = at;
                while end < letters.len() && is_word(letters[end]) {
                    end += 1;
                }
                tokens.push(Token { text: letters[at..end].iter().collect(), line });
                end
            }
            ':' if next == Some(':') => {
                tokens.push(Token { text: "::".to_owned(), line });
                at + 2
            }
            _ => {
                tokens.push(Token { text: letter.to_string(), line });
                at + 1
            }
        };
        let end = end.min(letters.len());
        line += letters[at..end].iter().filter(|letter| **letter == '\n').count();
        at = end;
    }
    tokens
}

impl Source {
    /// Reads one text as the file `name`.
    pub fn parse(name: &str, text: String) -> Self {
        let tokens = tokenize(&text);
        let module = module_of(name);
        let idents = tokens
            .iter()
            .filter(|token| token.text.chars().next().is_some_and(is_word))
            .map(|token| (token.text.clone(), token.line))
            .collect();
        let mut source = Self {
            name: name.to_owned(),
            module,
            text,
            paths: Vec::new(),
            idents,
            test_only: false,
            tokens,
            test_lines: Vec::new(),
        };
        source.test_lines = source.find_test_lines();
        source.paths = source.find_paths();
        source
    }

    /// Whether the line is in code that is compiled for tests alone.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.iter().any(|(from, to)| (*from..=*to).contains(&line))
    }

    fn text_at(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    /// Where the bracket that opens at `at` closes.
    fn closing(&self, at: usize) -> usize {
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(at) {
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return index;
                    }
                }
                _ => {}
            }
        }
        self.tokens.len().saturating_sub(1)
    }

    /// The attributes: index of `#`, index of its `]`, and its words.
    fn attributes(&self) -> Vec<(usize, usize, Vec<&str>)> {
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            if self.text_at(at) == "#" && self.text_at(at + 1) == "[" {
                let end = self.closing(at + 1);
                found.push((at, end, (at + 2..end).map(|index| self.text_at(index)).collect()));
            }
        }
        found
    }

    fn is_cfg_test(words: &[&str]) -> bool {
        words.first() == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not")
    }

    /// The token after the attributes that start at `at`.
    fn after_attributes(&self, mut at: usize) -> usize {
        while self.text_at(at) == "#" && self.text_at(at + 1) == "[" {
            at = self.closing(at + 1) + 1;
        }
        at
    }

    fn find_test_lines(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (start, end, words) in self.attributes() {
            if !Self::is_cfg_test(&words) {
                continue;
            }
            let mut at = self.after_attributes(end + 1);
            while at < self.tokens.len() && !matches!(self.text_at(at), "{" | ";") {
                at = if matches!(self.text_at(at), "(" | "[") {
                    self.closing(at) + 1
                } else {
                    at + 1
                };
            }
            let last = if self.text_at(at) == "{" { self.closing(at) } else { at };
            let last_line = self.tokens.get(last).map_or(usize::MAX, |token| token.line);
            found.push((self.tokens[start].line, last_line));
        }
        found
    }

    /// The modules in other files that this file declares for tests alone.
    fn test_modules(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        for (_, end, words) in self.attributes() {
            let mut at = self.after_attributes(end + 1);
            while matches!(self.text_at(at), "pub" | "(" | ")" | "crate" | "super") {
                at += 1;
            }
            if Self::is_cfg_test(&words) && self.text_at(at) == "mod" && self.text_at(at + 2) == ";"
            {
                let mut module = if matches!(self.name.as_str(), "src/lib.rs" | "src/main.rs") {
                    Vec::new()
                } else {
                    self.module.clone()
                };
                module.push(self.text_at(at + 1).to_owned());
                found.push(module);
            }
        }
        found
    }

    fn find_paths(&self) -> Vec<NamedPath> {
        let mut found = Vec::new();
        // Inline modules that are open: their name and the token that closes them.
        let mut open: Vec<(String, usize)> = Vec::new();
        for at in 0..self.tokens.len() {
            open.retain(|(_, end)| at <= *end);
            if self.text_at(at) == "mod" && self.text_at(at + 2) == "{" {
                open.push((self.text_at(at + 1).to_owned(), self.closing(at + 2)));
            }
            let starts_path = self.text_at(at).chars().next().is_some_and(is_word)
                && self.text_at(at + 1) == "::"
                && (at == 0 || self.text_at(at - 1) != "::");
            // `pub(in crate::x)` says who may see, not what is used.
            let visibility = at >= 2 && self.text_at(at - 1) == "in" && self.text_at(at - 2) == "(";
            if !starts_path || visibility || self.inside_use_tree(at) {
                continue;
            }
            let mut raw = Vec::new();
            self.expand(at, &[], &mut raw);
            for segments in raw {
                let line = self.tokens[at].line;
                let in_test = self.is_test_line(line);
                found.push(NamedPath { segments: self.resolve(segments, &open), line, in_test });
            }
        }
        found
    }

    /// Whether the word at `at` continues a `use` tree that was taken apart at its root.
    fn inside_use_tree(&self, at: usize) -> bool {
        let mut depth = 0_usize;
        for index in (0..at).rev() {
            match self.text_at(index) {
                "}" => depth += 1,
                "{" if depth == 0 => {
                    return index > 0 && self.text_at(index - 1) == "::";
                }
                "{" => depth -= 1,
                ";" if depth == 0 => return false,
                _ => {}
            }
        }
        false
    }

    fn expand(&self, mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) {
        let mut segments = prefix.to_vec();
        loop {
            if self.text_at(at) == "{" {
                let end = self.closing(at);
                let mut item = at + 1;
                while item < end {
                    self.expand(item, &segments, found);
                    // On to the next comma of this level.
                    while item < end && self.text_at(item) != "," {
                        item = if self.text_at(item) == "{" {
                            self.closing(item) + 1
                        } else {
                            item + 1
                        };
                    }
                    item += 1;
                }
                return;
            }
            segments.push(self.text_at(at).to_owned());
            if self.text_at(at + 1) != "::" || self.text_at(at + 2) == "<" {
                found.push(segments);
                return;
            }
            at += 2;
        }
    }

    fn resolve(&self, segments: Vec<String>, open: &[(String, usize)]) -> Vec<String> {
        let first = segments.first().map_or("", String::as_str);
        if first != "super" && first != "self" {
            return segments;
        }
        let mut base = self.module.clone();
        if matches!(self.name.as_str(), "src/lib.rs" | "src/main.rs") {
            base.clear();
        }
        base.extend(open.iter().map(|(name, _)| name.clone()));
        let mut rest = segments.as_slice();
        while let Some((head, tail)) = rest.split_first() {
            match head.as_str() {
                "super" => {
                    base.pop();
                }
                "self" => {}
                _ => break,
            }
            rest = tail;
        }
        let mut path = vec!["crate".to_owned()];
        path.extend(base);
        path.extend_from_slice(rest);
        path
    }

    /// Whether `ident` on `line` is called as a macro.
    pub fn is_macro_call(&self, ident: &str, line: usize) -> bool {
        self.tokens
            .iter()
            .zip(self.tokens.iter().skip(1))
            .any(|(token, next)| token.line == line && token.text == ident && next.text == "!")
    }

    /// The lines of the attributes whose first word is `name`.
    pub fn attribute_lines(&self, name: &str) -> Vec<usize> {
        self.attributes()
            .into_iter()
            .filter(|(_, _, words)| words.first() == Some(&name))
            .map(|(start, _, _)| self.tokens[start].line)
            .collect()
    }

    /// The lines of the attributes that hold `word`, `#![…]` included.
    pub fn attributes_with(&self, word: &str) -> Vec<usize> {
        let inner = |at: usize| {
            self.text_at(at) == "#" && self.text_at(at + 1) == "!" && self.text_at(at + 2) == "["
        };
        let outer = self.attributes().into_iter().map(|(start, end, _)| (start, end));
        let all = outer.chain(
            (0..self.tokens.len()).filter(|at| inner(*at)).map(|at| (at, self.closing(at + 2))),
        );
        all.filter(|(start, end)| (*start..*end).any(|at| self.text_at(at) == word))
            .map(|(start, _)| self.tokens[start].line)
            .collect()
    }

    /// Complaints about public items without a doc comment. Bodies of macros are not looked at:
    /// what they make is rustc's to check.
    pub fn undocumented(&self) -> Vec<String> {
        let lines: Vec<&str> = self.text.lines().collect();
        let macros = self.macro_lines();
        let mut found = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let item = line.trim_start();
            let Some(rest) = item.strip_prefix("pub ") else { continue };
            let number = index + 1;
            let words = [
                "fn ",
                "async fn ",
                "const ",
                "struct ",
                "enum ",
                "trait ",
                "type ",
                "static ",
                "union ",
            ];
            let inside = |spans: &[(usize, usize)]| {
                spans.iter().any(|(from, to)| (*from..=*to).contains(&number))
            };
            if !words.iter().any(|word| rest.starts_with(word))
                || inside(&macros)
                || self.is_test_line(number)
            {
                continue;
            }
            if !documented(&lines, index) {
                found.push(format!("{}:{number}: no doc comment: {item}", self.name));
            }
        }
        found
    }

    fn macro_lines(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            let defines = self.text_at(at) == "macro_rules" && self.text_at(at + 1) == "!";
            if defines && self.text_at(at + 3) == "{" {
                let end = self.closing(at + 3);
                found.push((self.tokens[at].line, self.tokens[end].line));
            }
        }
        found
    }

    /// Every function with a body, and its size.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            if self.text_at(at) != "fn" || !self.text_at(at + 1).chars().next().is_some_and(is_word)
            {
                continue;
            }
            let mut body = at + 2;
            while body < self.tokens.len() && !matches!(self.text_at(body), "{" | ";") {
                body = if matches!(self.text_at(body), "(" | "[") {
                    self.closing(body) + 1
                } else {
                    body + 1
                };
            }
            if self.text_at(body) == "{" {
                let line = self.tokens[at].line;
                let lines = self.tokens[self.closing(body)].line - line + 1;
                found.push(Function { name: self.text_at(at + 1).to_owned(), line, lines });
            }
        }
        found
    }
}

/// Whether the item on line `index` has a doc comment above its attributes.
fn documented(lines: &[&str], index: usize) -> bool {
    let mut depth = 0_i32;
    for line in lines[..index].iter().rev() {
        let line = line.trim();
        if depth == 0
            && (line.starts_with("///") || line.starts_with("#[doc") || line.ends_with("*/"))
        {
            return true;
        }
        // Attributes may stand between, also over several lines; read them from their end.
        depth += line.matches(']').count() as i32 - line.matches('[').count() as i32;
        let attribute = line.starts_with("#[") || line.ends_with(")]") || depth > 0;
        if !attribute && !line.starts_with("//") {
            return false;
        }
    }
    false
}
