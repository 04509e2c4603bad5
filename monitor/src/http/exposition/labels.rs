//! Labels of samples.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use crate::containers::info::{KUBERNETES_CONTAINER, KUBERNETES_NAMESPACE, KUBERNETES_POD};
use crate::http::ended_kills::OwnLabels;
use crate::http::view::ContainerView;

/// The host label of a machine's samples, where there are several machines.
#[derive(Debug)]
pub(super) struct HostLabel<'a>(pub(super) Option<&'a str>);

impl EncodeLabelSet for HostLabel<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |host| ("host", host).encode(encoder.encode_label()))
    }
}

/// The labels of a container, as cAdvisor has them; those of Kubernetes as the kubelet adds them.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    pub(super) view: &'a ContainerView,
    pub(super) more: &'a [(&'static str, &'a str)],
}

/// Labels of Kubernetes, and the runtime's labels that hold them.
const KUBERNETES: &[(&str, &str)] =
    &[("container", KUBERNETES_CONTAINER), ("pod", KUBERNETES_POD), ("namespace", KUBERNETES_NAMESPACE)];

impl Labels<'_> {
    /// The labels that have a value: in Prometheus an empty label equals a missing one.
    fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let view = self.view;
        let own = [
            ("id", view.cgroup()),
            // The machine itself has no name there, so that a sum over all names counts nothing twice.
            ("name", Some(view.name()).filter(|_| !view.is_machine())),
            ("image", view.image()),
            ("host", view.foreign_host()),
        ];
        let kubernetes = KUBERNETES.iter().map(|(label, key)| (*label, view.label(key)));
        let more = self.more.iter().map(|(label, value)| (*label, Some(*value)));
        let all = own.into_iter().chain(kubernetes).chain(more);
        all.filter_map(|(label, value)| Some((label, value.filter(|value| !value.is_empty())?)))
    }
}

/// The labels of a container alone.
pub(in crate::http) fn own_labels(view: &ContainerView) -> OwnLabels {
    Labels { view, more: &[] }.all().map(|(label, value)| (label, value.to_owned())).collect()
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.all().try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

/// The labels of a container that has ended.
#[derive(Debug)]
pub(super) struct Kept(pub(super) OwnLabels);

impl EncodeLabelSet for Kept {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(label, value)| (*label, value.as_str()).encode(encoder.encode_label()))
    }
}
