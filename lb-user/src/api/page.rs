//! The dashboard's files, which are in the binary. They hold nothing of the node: the page asks the API for that.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::model::hex;

/// A file, by the path that it is asked for.
#[derive(Debug)]
pub(super) struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($path:literal = $file:literal $kind:literal,)*) => {
        &[$(Asset {
            path: $path,
            kind: $kind,
            bytes: include_bytes!(concat!("../../dashboard/", $file)),
        },)*]
    };
}

const ASSETS: &[Asset] = assets![
    "/" = "index.html" "text/html; charset=utf-8",
    "/app.css" = "app.css" "text/css; charset=utf-8",
    "/app.js" = "app.js" "text/javascript; charset=utf-8",
    "/backend.js" = "backend.js" "text/javascript; charset=utf-8",
    "/changes.js" = "changes.js" "text/javascript; charset=utf-8",
    "/charts.js" = "charts.js" "text/javascript; charset=utf-8",
    "/dom.js" = "dom.js" "text/javascript; charset=utf-8",
    "/format.js" = "format.js" "text/javascript; charset=utf-8",
    "/history.js" = "history.js" "text/javascript; charset=utf-8",
    "/icon.svg" = "icon.svg" "image/svg+xml",
    "/log.js" = "log.js" "text/javascript; charset=utf-8",
    "/node.js" = "node.js" "text/javascript; charset=utf-8",
    "/rates.js" = "rates.js" "text/javascript; charset=utf-8",
    "/services.js" = "services.js" "text/javascript; charset=utf-8",
    "/stream.js" = "stream.js" "text/javascript; charset=utf-8",
    "/theme.js" = "theme.js" "text/javascript; charset=utf-8",
    "/uplot.css" = "uplot.css" "text/css; charset=utf-8",
    "/uplot.js" = "uplot.js" "text/javascript; charset=utf-8",
    "/words.js" = "words.js" "text/javascript; charset=utf-8",
];

/// Scripts and styles are the page's own, and nobody shows it inside of another.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Is there such a file?
pub(super) fn has(path: &str) -> bool {
    of(path).is_some()
}

/// The file of this path.
pub(super) fn of(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    /// The file, or that it is still as whoever asks has it.
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response<Full<Bytes>> {
        let tag = self.tag();
        let known = asked.get_all(IF_NONE_MATCH).iter().any(|known| {
            let mut tags = known.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            tags.any(|known| known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
        });
        let mut response = Response::new(Full::new(Bytes::from_static(if known { b"" } else { self.bytes })));
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(ETAG, tag);
        // Kept, and asked for again each time: the next version of the daemon has another page.
        for (name, value) in [
            (CONTENT_TYPE, self.kind),
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Another one when the file is another.
    fn tag(&self) -> HeaderValue {
        let digest = hex::encode(&Sha256::digest(self.bytes)[..12]);
        HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of a colour as `#rrggbb` (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn text_can_be_read_in_both_themes() {
        let css = std::str::from_utf8(of("/app.css").unwrap().bytes).unwrap();
        let colour = |name: &str, theme: usize| {
            let begin = format!("  --{name}: light-dark(");
            let rest = css.split_once(&begin).unwrap_or_else(|| panic!("{name}")).1;
            luminance(rest.split(')').next().unwrap().split(", ").nth(theme).unwrap())
        };
        let mut pairs = vec![
            ("on-accent", "accent"),
            ("surface", "bad"),
            ("text", "raised"),
            ("muted", "raised"),
        ];
        for text in ["text", "muted", "accent", "good", "warn", "bad", "info"] {
            pairs.extend([(text, "ground"), (text, "surface")]);
        }
        for (level, ground) in [
            ("good", "good-ground"),
            ("warn", "warn-ground"),
            ("bad", "bad-ground"),
            ("info", "info-ground"),
        ] {
            pairs.extend([(level, ground), ("text", ground)]);
        }
        for (text, ground) in pairs {
            for theme in [0, 1] {
                let (a, b) = (colour(text, theme), colour(ground, theme));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 4.5, "{text} on {ground}, theme {theme}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn every_file_is_served() {
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard")).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            // What is for people, and the page itself.
            if !name.ends_with(".md") && !name.ends_with(".LICENSE") && name != "index.html" {
                assert!(has(&format!("/{name}")), "{name}");
            }
        }
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        for asset in ASSETS {
            let first = asset.answer(&HeaderMap::new());
            assert_eq!(first.status(), StatusCode::OK);
            assert!(!asset.bytes.is_empty(), "{}", asset.path);
            let tag = first.headers()[ETAG].to_str().unwrap();
            for (known, status) in [
                (tag.to_owned(), StatusCode::NOT_MODIFIED),
                (format!("\"x\", W/{tag}"), StatusCode::NOT_MODIFIED),
                ("\"x\"".to_owned(), StatusCode::OK),
            ] {
                let asked = HeaderMap::from_iter([(IF_NONE_MATCH, known.parse().unwrap())]);
                assert_eq!(asset.answer(&asked).status(), status, "{known}");
            }
        }
    }
}
