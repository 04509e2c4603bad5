//! Labels of samples.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

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
const KUBERNETES: &[(&str, &str)] = &[
    ("container", "io.kubernetes.container.name"),
    ("pod", "io.kubernetes.pod.name"),
    ("namespace", "io.kubernetes.pod.namespace"),
];

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
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
        for (label, value) in own.into_iter().chain(kubernetes).chain(more) {
            // In Prometheus an empty label equals a missing one.
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                (label, value).encode(encoder.encode_label())?;
            }
        }
        Ok(())
    }
}
