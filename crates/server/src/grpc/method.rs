//! The methods that there are.

use crate::auth::Scope;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Publish,
    PublishStream,
    GetEvent,
    GetStatus,
    Subscribe,
    Consume,
    IngestEvent,
    JobStatus,
    StreamLogs,
    Health,
    Reflection,
    ReflectionAlpha,
    Unknown,
}

impl Method {
    pub(crate) const ALL: [Self; 13] = [
        Self::Publish,
        Self::PublishStream,
        Self::GetEvent,
        Self::GetStatus,
        Self::Subscribe,
        Self::Consume,
        Self::IngestEvent,
        Self::JobStatus,
        Self::StreamLogs,
        Self::Health,
        Self::Reflection,
        Self::ReflectionAlpha,
        Self::Unknown,
    ];

    /// The method of a request's path. One that a service of ours does not have is answered by that service.
    pub(crate) fn of(path: &str) -> Self {
        let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
            return Self::Unknown;
        };
        match (service, method) {
            ("eventrelay.v1.EventRelay", "Publish") => Self::Publish,
            ("eventrelay.v1.EventRelay", "PublishStream") => Self::PublishStream,
            ("eventrelay.v1.EventRelay", "GetEvent") => Self::GetEvent,
            ("eventrelay.v1.EventRelay", "GetStatus") => Self::GetStatus,
            ("eventrelay.v1.EventRelay", "Subscribe") => Self::Subscribe,
            ("eventrelay.v1.EventRelay", "Consume") => Self::Consume,
            ("event.EventService", "IngestEvent") => Self::IngestEvent,
            ("event.EventService", "GetStatus") => Self::JobStatus,
            ("ingestpb.Ingestor", "StreamLogs") => Self::StreamLogs,
            ("grpc.health.v1.Health", _) => Self::Health,
            ("grpc.reflection.v1.ServerReflection", _) => Self::Reflection,
            ("grpc.reflection.v1alpha.ServerReflection", _) => Self::ReflectionAlpha,
            _ => Self::Unknown,
        }
    }

    /// What metrics call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Publish => "eventrelay.v1.EventRelay/Publish",
            Self::PublishStream => "eventrelay.v1.EventRelay/PublishStream",
            Self::GetEvent => "eventrelay.v1.EventRelay/GetEvent",
            Self::GetStatus => "eventrelay.v1.EventRelay/GetStatus",
            Self::Subscribe => "eventrelay.v1.EventRelay/Subscribe",
            Self::Consume => "eventrelay.v1.EventRelay/Consume",
            Self::IngestEvent => "event.EventService/IngestEvent",
            Self::JobStatus => "event.EventService/GetStatus",
            Self::StreamLogs => "ingestpb.Ingestor/StreamLogs",
            Self::Health => "grpc.health.v1.Health",
            Self::Reflection => "grpc.reflection.v1.ServerReflection",
            Self::ReflectionAlpha => "grpc.reflection.v1alpha.ServerReflection",
            Self::Unknown => "unknown",
        }
    }

    /// What a key must allow for it; none: it is for everybody.
    pub(crate) fn scope(self) -> Option<Scope> {
        match self {
            Self::Publish | Self::PublishStream | Self::IngestEvent | Self::StreamLogs => {
                Some(Scope::Publish)
            }
            Self::GetEvent | Self::GetStatus | Self::JobStatus | Self::Subscribe => Some(Scope::Read),
            Self::Consume => Some(Scope::Consume),
            Self::Health | Self::Reflection | Self::ReflectionAlpha | Self::Unknown => None,
        }
    }

    /// Whether one message is answered by one message, in a time that is ours to bound.
    pub(crate) fn is_unary(self) -> bool {
        matches!(self, Self::Publish | Self::GetEvent | Self::GetStatus | Self::IngestEvent | Self::JobStatus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_the_path_that_it_stands_for() {
        for (place, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, place, "metrics look it up by its number");
            let path = format!("/{}", method.label());
            let path = if path.matches('/').count() == 1 { format!("{path}/Check") } else { path };
            assert_eq!(Method::of(&path), method);
        }
        for path in ["", "/", "Publish", "/eventrelay.v1.EventRelay/publish", "*"] {
            assert_eq!(Method::of(path), Method::Unknown, "{path}");
        }
    }
}
