//! Finds the paths that a source file names: into its own crate (`crate::`, `super::`, `self::`) and into others.
//!
//! Tokens suffice for that, and see into macro calls where a syntax tree does not. Comments are no tokens; doc comments
//! and strings are literals.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// A path that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) line: usize,
    /// From the root of the crate, or with the other crate's name first. Ends with `*` for a glob.
    pub(super) path: Vec<String>,
    /// Whether it may be a path into another crate. Types and local modules look the same; the reader knows the names.
    pub(super) external: bool,
}

/// All paths in a file that holds `module`, in their order.
pub(super) fn mentions(text: &str, module: &[String]) -> Result<Vec<Mention>> {
    let tokens: TokenStream = text
        .parse()
        .map_err(|error: proc_macro2::LexError| anyhow!("line {}: not Rust: {error}", error.span().start().line))?;
    let mut found = Vec::new();
    walk(tokens, module, &mut found);
    Ok(found)
}

/// Words that no path goes through, so that a `::` behind one begins a path.
const KEYWORDS: [&str; 16] = [
    "as", "break", "const", "dyn", "else", "for", "if", "impl", "in", "let", "match", "mut", "ref", "return", "use",
    "where",
];

fn walk(tokens: TokenStream, module: &[String], found: &mut Vec<Mention>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at = match token {
            TokenTree::Group(group) => {
                walk(group.stream(), module, found);
                at + 1
            }
            TokenTree::Ident(ident) if !is_word(token, &KEYWORDS) && !continues_path(&tokens, at) => {
                word(&tokens, at, ident, module, found)
            }
            _ => at + 1,
        };
    }
}

/// Handles a word that starts a path or a module; returns where to go on.
fn word(tokens: &[TokenTree], at: usize, ident: &Ident, module: &[String], found: &mut Vec<Mention>) -> usize {
    if ident == "mod"
        && let Some(TokenTree::Ident(name)) = tokens.get(at + 1)
        && let Some(TokenTree::Group(body)) = tokens.get(at + 2)
    {
        walk(body.stream(), &[module, &[name.to_string()]].concat(), found);
        return at + 3;
    }
    if !is_path_separator(tokens, at + 1) {
        // `use name;` and `use name as other;` are the only paths of one word that matter.
        if at > 0 && is_word(&tokens[at - 1], &["use", "crate"]) && !is_word(&tokens[at], &["crate", "self"]) {
            found.push(Mention {
                line: line(ident),
                path: vec![ident.to_string()],
                external: true,
            });
        }
        return at + 1;
    }
    if ident == "crate" {
        return path(tokens, at + 3, &[], false, found);
    }
    if ident == "super" || ident == "self" {
        let (mut base, mut next) = (module, at);
        while tokens.get(next).is_some_and(|token| is_word(token, &["super", "self"]))
            && is_path_separator(tokens, next + 1)
        {
            if is_word(&tokens[next], &["super"]) {
                base = base.split_last().map_or(base, |(_, parent)| parent);
            }
            next += 3;
        }
        return path(tokens, next, base, false, found);
    }
    path(tokens, at, &[], true, found)
}

/// Reads a path, or the tree of a `use`, whose beginning is `base`; returns where it ends.
fn path(tokens: &[TokenTree], mut at: usize, base: &[String], external: bool, found: &mut Vec<Mention>) -> usize {
    let mut path = base.to_vec();
    let mut push = |token: &TokenTree, path: &[String]| {
        found.push(Mention {
            line: token.span().start().line,
            path: path.to_vec(),
            external,
        });
    };
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(ident) => {
                if ident != "self" {
                    path.push(ident.to_string());
                }
                if !is_path_separator(tokens, at + 1) {
                    push(token, &path);
                    return at + 1;
                }
                at += 3;
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let items: Vec<TokenTree> = group.stream().into_iter().collect();
                for item in items.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
                    self::path(item, 0, &path, external, found);
                }
                return at + 1;
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' => {
                path.push("*".to_owned());
                push(token, &path);
                return at + 1;
            }
            // `name::<T>` and the like: the path ends, what follows is read on its own.
            _ => {
                push(token, &path);
                return at;
            }
        }
    }
    at
}

/// Whether the tokens at `at` are `::`.
fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(at) && is_colon(at + 1)
}

/// Whether the word at `at` goes on with a path: `name::word` does, `use ::word` does not.
fn continues_path(tokens: &[TokenTree], at: usize) -> bool {
    if at < 2 || !is_path_separator(tokens, at - 2) {
        return false;
    }
    match at.checked_sub(3).map(|before| &tokens[before]) {
        Some(TokenTree::Ident(_)) => !is_word(
            &tokens[at - 3],
            &["use", "return", "in", "as", "dyn", "impl", "mut", "else"],
        ),
        Some(TokenTree::Punct(punct)) => punct.as_char() == '>',
        Some(TokenTree::Group(_) | TokenTree::Literal(_)) | None => false,
    }
}

fn is_word(token: &TokenTree, words: &[&str]) -> bool {
    matches!(token, TokenTree::Ident(ident) if words.iter().any(|word| ident == word))
}

fn line(ident: &Ident) -> usize {
    ident.span().start().line
}
