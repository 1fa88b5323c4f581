//! Which text format a scraper wants (RFC 9110 §12.5.1).
//!
//! OpenMetrics goes to those who name it and do not like plain text better; everybody else, people with curl among them,
//! gets what everything can read. An answer in the other format is better than none, so nothing is refused.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

use crate::metrics::Format;

/// The format to answer in.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let (mut open, mut text) = (0.0_f32, 0.0_f32);
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("").to_ascii_lowercase();
        let (mut quality, mut known) = (1.0, true);
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.trim_end().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => known = ["0.0.1", "0.0.4", "1.0.0"].contains(&value.trim().trim_matches('"')),
                _ => {}
            }
        }
        match kind.as_str() {
            "application/openmetrics-text" if known => open = open.max(quality),
            "text/plain" | "text/*" => text = text.max(quality),
            _ => {}
        }
    }
    if open > 0.0 && open >= text {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        use Format::{OpenMetrics, Text};
        let prometheus_2_42 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                               q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
                            escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, wanted) in [
            (prometheus_2_42, OpenMetrics),
            (prometheus_3, OpenMetrics),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.3", OpenMetrics),
            ("text/plain;q=0.5,application/openmetrics-text;q=0.5", OpenMetrics),
            ("text/plain,application/openmetrics-text;q=0.5", Text),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=x", Text),
            ("application/openmetrics-text;version=2.0.0", Text),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Text),
            ("*/*", Text),
            ("application/json", Text),
            ("", Text),
            (",;=,;;q", Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(format(&headers), wanted, "{accept}");
        }
        let mut several = HeaderMap::new();
        assert_eq!(format(&several), Text);
        several.append(ACCEPT, "text/plain;q=0.1".parse().unwrap());
        several.append(ACCEPT, "application/openmetrics-text".parse().unwrap());
        assert_eq!(format(&several), OpenMetrics);
    }
}
