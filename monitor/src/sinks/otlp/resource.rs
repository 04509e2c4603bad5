//! The resources of a report: its containers, and the machine, which is a host.

use super::conventions::{CONTAINER, HOST, Names};
use super::protobuf::Message;
use crate::containers::info::{KUBERNETES_CONTAINER, KUBERNETES_NAMESPACE, KUBERNETES_POD, KUBERNETES_POD_UID};
use crate::report::{Container, Report};
use crate::snapshot::Scope;

/// One entity that numbers are about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource<'a> {
    /// A container; `alone` if the agent watches no machine, whose numbers it has then too.
    Container { container: &'a Container, alone: bool },
    /// The machine: its own numbers, unless they are left out, and those that all containers share.
    Host { own: Option<&'a Container>, shared: &'a Container },
}

/// Returns the resources of a report: with several containers the numbers that they share stand once, at the machine.
pub(super) fn resources(report: &Report) -> Vec<Resource<'_>> {
    let alone = report.scope == Scope::SelfContainer;
    let machine = report.containers.iter().find(|container| report.is_machine(container));
    let shared = machine.or(report.containers.first());
    let host = shared.filter(|_| !alone).map(|shared| Resource::Host { own: machine, shared });
    let containers = report.containers.iter().filter(|container| !report.is_machine(container));
    host.into_iter().chain(containers.map(|container| Resource::Container { container, alone })).collect()
}

impl<'a> Resource<'a> {
    /// The names of its numbers.
    pub(super) fn names(self) -> &'static Names {
        match self {
            Self::Container { .. } => &CONTAINER,
            Self::Host { .. } => &HOST,
        }
    }

    /// The container whose numbers it has, apart from shared ones.
    pub(super) fn own(self) -> Option<&'a Container> {
        match self {
            Self::Container { container, .. } => Some(container),
            Self::Host { own, .. } => own,
        }
    }

    /// The container that has the numbers of the machine which all share, if this is where they are sent.
    pub(super) fn shared(self) -> Option<&'a Container> {
        match self {
            Self::Container { container, alone } => alone.then_some(container),
            Self::Host { shared, .. } => Some(shared),
        }
    }

    /// Its identity. Receivers that keep no other attributes identify it by its service and instance.
    pub(super) fn attributes(self, report: &Report) -> Message {
        let host = report.host.as_str();
        let (service, container) = match self {
            Self::Container { container, .. } => (container.identity.name.as_str(), Some(container)),
            Self::Host { .. } => ("system-monitor", None),
        };
        let attributes = [("service.name", service), ("service.instance.id", host), ("host.name", host)];
        let message = Message::default().messages(1, attributes.into_iter().filter_map(text));
        match container {
            Some(container) => of_container(message, container),
            None => message.messages(1, text(("os.type", "linux"))),
        }
    }
}

/// Appends what is known of a container.
fn of_container(message: Message, container: &Container) -> Message {
    let identity = &container.identity;
    let label = |key: &str| identity.labels.get(key).map(String::as_str);
    let image = identity.image.as_deref().map(Image::of).unwrap_or_default();
    let known = [
        ("container.name", Some(identity.name.as_str())),
        ("container.id", identity.container_id.as_deref()),
        ("container.runtime.name", identity.runtime.as_deref()),
        ("container.image.name", image.name),
        ("container.image.id", image.id),
        ("k8s.container.name", label(KUBERNETES_CONTAINER)),
        ("k8s.pod.name", label(KUBERNETES_POD)),
        ("k8s.pod.uid", label(KUBERNETES_POD_UID)),
        ("k8s.namespace.name", label(KUBERNETES_NAMESPACE)),
    ];
    let lists = [("container.image.tags", image.tag), ("container.image.repo_digests", image.repository_digest)];
    let known = known.into_iter().filter_map(|(key, value)| text((key, value?)));
    message.messages(1, known).messages(1, lists.into_iter().filter_map(|(key, value)| list(key, value?)))
}

/// An attribute with a text; `None` for an empty one.
pub(super) fn text((key, value): (&str, &str)) -> Option<Message> {
    let value = Some(value).filter(|value| !value.is_empty())?;
    Some(Message::default().text(1, key).message(2, &Message::default().text(1, value)))
}

/// An attribute with a list of one text.
fn list(key: &str, value: &str) -> Option<Message> {
    let value = Some(value).filter(|value| !value.is_empty())?;
    let values = Message::default().message(1, &Message::default().text(1, value));
    Some(Message::default().text(1, key).message(2, &Message::default().message(5, &values)))
}

/// The parts of an image's name as runtimes write it: `REGISTRY:PORT/PATH:TAG@DIGEST`, or an id alone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Image<'a> {
    name: Option<&'a str>,
    tag: Option<&'a str>,
    /// The name with the digest, without the tag.
    repository_digest: Option<&'a str>,
    id: Option<&'a str>,
}

impl<'a> Image<'a> {
    fn of(image: &'a str) -> Self {
        if image.starts_with("sha256:") {
            return Self { id: Some(image), ..Self::default() };
        }
        let named = image.split('@').next().unwrap_or(image);
        // A colon before the last slash is that of a port.
        let path = named.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match named[path..].rfind(':') {
            Some(colon) => (&named[..path + colon], Some(&named[path + colon + 1..])),
            None => (named, None),
        };
        let has_digest_alone = tag.is_none() && named.len() < image.len();
        Self { name: Some(name), tag, repository_digest: has_digest_alone.then_some(image), id: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_name_without_its_tag_and_its_digest() {
        let of = |image| {
            let Image { name, tag, repository_digest, id } = Image::of(image);
            [name, tag, repository_digest, id].map(Option::unwrap_or_default)
        };
        assert_eq!(of("nginx"), ["nginx", "", "", ""]);
        assert_eq!(of("nginx:1.27-alpine"), ["nginx", "1.27-alpine", "", ""]);
        assert_eq!(of("registry:5000/a/web"), ["registry:5000/a/web", "", "", ""]);
        assert_eq!(of("registry:5000/a/web:v2"), ["registry:5000/a/web", "v2", "", ""]);
        assert_eq!(of("web:v2@sha256:ab"), ["web", "v2", "", ""]);
        assert_eq!(of("a/web@sha256:ab"), ["a/web", "", "a/web@sha256:ab", ""]);
        assert_eq!(of("sha256:abcd"), ["", "", "", "sha256:abcd"]);
    }
}
