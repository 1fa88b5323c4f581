//! From a status to text.
//!
//! prometheus-client writes OpenMetrics alone. The older text format differs in what a family is called (its whole name,
//! `_total` and `_info` included), has no units and no end mark, and knows no info; otherwise its lines are the same. So
//! there a family is described by its whole name, and its samples are written as those of a gauge, which gives them
//! no suffix.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::families::{BACKEND, FAMILIES, Family, Kind, Source, Value};
use crate::model::http_status::Durations;
use crate::model::status::{BackendStatus, Status};
use crate::model::traffic::Histogram;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' own, version 0.0.4, which everything reads.
    Text,
}

impl Format {
    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

pub(super) fn encode(status: Status, format: Format, to: &mut impl fmt::Write) -> fmt::Result {
    // The crate hands its encoder to what is registered, and to nobody else.
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        backends: backends(&status),
        status,
        format,
    }));
    text::encode_registry(to, &registry)?;
    match format {
        Format::OpenMetrics => text::encode_eof(to),
        Format::Text => Ok(()),
    }
}

#[derive(Debug)]
struct Scrape {
    status: Status,
    format: Format,
    /// Labels of every backend, as text: most samples have them, so they are made once.
    backends: Vec<String>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        FAMILIES.iter().try_for_each(|family| self.family(family, &mut encoder))
    }
}

impl Scrape {
    fn family(&self, family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let unit = family.unit.map(unit);
        let mut metric = match self.format {
            Format::OpenMetrics => {
                let kind = match family.kind {
                    Kind::Counter => MetricType::Counter,
                    Kind::Gauge => MetricType::Gauge,
                    Kind::Info => MetricType::Info,
                    Kind::Histogram => MetricType::Histogram,
                };
                encoder.encode_descriptor(family.stem(), family.help, unit.as_ref(), kind)?
            }
            Format::Text => {
                let kind = match family.kind {
                    Kind::Counter => MetricType::Counter,
                    Kind::Gauge | Kind::Info => MetricType::Gauge,
                    Kind::Histogram => MetricType::Histogram,
                };
                encoder.encode_descriptor(family.name, family.help, None, kind)?
            }
        };
        let mut put = |of: &str, labels: &[&str], value: Value<'_>| {
            let before = if of.is_empty() { 0 } else { BACKEND.len() };
            let names = &family.labels[before..];
            debug_assert_eq!(labels.len(), names.len(), "{}", family.name);
            let values = labels;
            self.sample(family, &mut metric, &Labels { of, names, values }, value)
        };
        let mut services = self.status.services.iter();
        let mut backends = services
            .clone()
            .flat_map(|service| &service.backends)
            .zip(&self.backends);
        match family.source {
            Source::Node(value) => put("", &[], value(&self.status)),
            Source::Service(value) => services.try_for_each(|service| put("", &[&service.name], value(service))),
            Source::Backend(value) => backends.try_for_each(|(backend, of)| match value(backend) {
                Some(value) => put(of, &[], value),
                None => Ok(()),
            }),
            Source::EachBackend(samples) => {
                backends.try_for_each(|(backend, of)| samples(backend, &mut |labels, value| put(of, labels, value)))
            }
            Source::Own(samples) => samples(&self.status, &mut |labels, value| put("", labels, value)),
        }
    }

    fn sample(
        &self,
        family: &Family,
        metric: &mut MetricEncoder<'_>,
        labels: &Labels<'_>,
        value: Value<'_>,
    ) -> fmt::Result {
        if self.format == Format::OpenMetrics && family.kind == Kind::Info {
            return metric.encode_info(labels);
        }
        let total = self.format == Format::OpenMetrics && family.kind == Kind::Counter;
        if family.labels.is_empty() {
            number(metric, total, value)
        } else {
            number(&mut metric.encode_family(labels)?, total, value)
        }
    }
}

/// Labels of a sample.
struct Labels<'a> {
    /// Of whom it is, as text: the first ones.
    of: &'a str,
    /// Those that follow.
    names: &'a [&'a str],
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        if !self.of.is_empty() {
            // What is written as a label's name is written as it is.
            encoder.encode_label().encode_label_key()?.write_str(self.of)?;
        }
        let mut labels = self.names.iter().copied().zip(self.values.iter().copied());
        labels.try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

/// Labels of every backend, as [`Labels::of`].
fn backends(status: &Status) -> Vec<String> {
    let mut backends = Vec::new();
    for service in &status.services {
        let name = escaped(&service.name);
        let labels = |backend: &BackendStatus| format!("service=\"{name}\",backend=\"{}\"", escaped(&backend.name));
        backends.extend(service.backends.iter().map(labels));
    }
    backends
}

/// A label's value, as both formats want it.
fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return value.into();
    }
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
        .into()
}

/// The end of a sample; `total` puts that behind its name.
fn number(metric: &mut MetricEncoder<'_>, total: bool, value: Value<'_>) -> fmt::Result {
    match (total, value) {
        (true, Value::Whole(value)) => metric.encode_counter::<NoLabelSet, _, f64>(&value, None),
        (true, Value::Real(value)) => metric.encode_counter::<NoLabelSet, _, f64>(&value, None),
        (false, Value::Whole(value)) => metric.encode_gauge(&value),
        (false, Value::Real(value)) => metric.encode_gauge(&value),
        (_, Value::Durations(durations)) => histogram(metric, durations),
    }
}

/// In seconds.
fn histogram(metric: &mut MetricEncoder<'_>, durations: &Durations) -> fmt::Result {
    let bounds = Histogram::BOUNDS.iter().map(|&bound| seconds(bound));
    let bounds = bounds.chain([f64::INFINITY]);
    let mut buckets = [(0.0, 0); Histogram::BOUNDS.len() + 1];
    for (bucket, of) in buckets.iter_mut().zip(bounds.zip(durations.buckets)) {
        *bucket = of;
    }
    metric.encode_histogram::<NoLabelSet>(seconds(durations.sum), durations.count(), &buckets, None)
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl Family {
    /// The name without unit and suffix, both of which prometheus-client adds.
    fn stem(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
            Kind::Info => "_info",
        };
        let stem = self.name.strip_suffix(suffix).unwrap_or(self.name);
        let unit = self.unit.and_then(|unit| stem.strip_suffix(unit)?.strip_suffix('_'));
        unit.unwrap_or(stem)
    }
}

fn unit(name: &str) -> Unit {
    match name {
        "bytes" => Unit::Bytes,
        "seconds" => Unit::Seconds,
        other => Unit::Other(other.to_owned()),
    }
}
