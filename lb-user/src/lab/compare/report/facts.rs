//! What the page and the terminal say of a run alike: where it was measured, and with which settings.

use super::super::model::{Environment, Settings};
use super::numbers;

/// Name and value.
pub(super) fn environment(environment: &Environment) -> Vec<(String, String)> {
    let mut rows = vec![
        ("kernel".to_owned(), environment.kernel.clone()),
        (
            "processors".to_owned(),
            match environment.processors {
                0 => environment.processor.clone(),
                several => format!("{several} × {}", environment.processor),
            },
        ),
    ];
    if environment.memory > 0 {
        rows.push(("memory".to_owned(), numbers::bytes(environment.memory)));
    }
    rows.extend(environment.versions.iter().cloned());
    rows.extend(
        environment
            .offloads
            .iter()
            .map(|sentence| ("offloads".to_owned(), sentence.clone())),
    );
    rows.retain(|(_, value)| !value.trim().is_empty());
    rows
}

/// Name and value.
pub(super) fn settings(settings: &Settings) -> Vec<(String, String)> {
    let row = |name: &str, value: String| (name.to_owned(), value);
    vec![
        row(
            "samples of each figure",
            format!("{} of {}", settings.rounds, numbers::seconds(settings.seconds)),
        ),
        row("clients' connections", settings.connections.to_string()),
        row(
            "rate for latency",
            format!("{} requests/s", numbers::number(settings.rate)),
        ),
        row(
            "size of an answer",
            numbers::some(settings.body as u64, "byte", "bytes"),
        ),
        row("order of subjects", format!("from seed {}", settings.seed)),
    ]
}

/// What is said of a run that is not a whole one.
pub(super) fn warnings(interrupted: bool, quick: bool) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if interrupted {
        warnings.push("This comparison was interrupted: it has what was measured until then, and nothing of the rest.");
    }
    if quick {
        warnings.push(
            "A quick run: it shows whether everything works. With so few and short samples its figures mean little.",
        );
    }
    warnings
}
