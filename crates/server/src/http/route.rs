//! Which resource a request is for, of those on the hot path: what every event takes, and what watches the server.
//!
//! All others are operations of the control plane, [`super::control`], which is asked when nothing here is meant.

use http::Method;

/// A resource with its method, as the metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Route {
    Publish,
    PublishStream,
    Find,
    Status,
    Stream,
    TestFilter,
    Health,
    Live,
    Ready,
    Metrics,
    Pull,
    AckLeases,
    NackLeases,
    ExtendLeases,
    Noop,
    /// A resource that exists, with a method that it does not have.
    WrongMethod,
    /// No resource of ours.
    Unknown,
    /// What stands in for a request that was refused before it was one.
    Refused,
}

/// What a path and a method lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// A route, with the id of what it is about.
    Route(Route, &'a str),
    /// The methods that the resource has.
    WrongMethod(&'static str),
    Unknown,
}

const EVENTS: &str = "/v1/events";
const FILTER_TEST: &str = "/v1/filters/test";
const SUBSCRIPTIONS: &str = "/v1/subscriptions";

impl Route {
    pub(crate) const ALL: [Self; 18] = [
        Self::Publish,
        Self::PublishStream,
        Self::Find,
        Self::Status,
        Self::Stream,
        Self::TestFilter,
        Self::Health,
        Self::Live,
        Self::Ready,
        Self::Metrics,
        Self::Pull,
        Self::AckLeases,
        Self::NackLeases,
        Self::ExtendLeases,
        Self::Noop,
        Self::WrongMethod,
        Self::Unknown,
        Self::Refused,
    ];

    /// The path as the metrics show it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Publish => EVENTS,
            Self::Find => "/v1/events/{id}",
            Self::Status => "/v1/events/{id}/status",
            Self::PublishStream | Self::Stream => "/v1/events/stream",
            Self::TestFilter => FILTER_TEST,
            Self::Health => "/health",
            Self::Live => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::Pull => "/v1/subscriptions/{name}/pull",
            Self::AckLeases => "/v1/subscriptions/{name}/ack",
            Self::NackLeases => "/v1/subscriptions/{name}/nack",
            Self::ExtendLeases => "/v1/subscriptions/{name}/extend",
            Self::Noop => "/noop",
            Self::WrongMethod => "wrong_method",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn method_label(self) -> &'static str {
        match self {
            Self::Publish | Self::PublishStream | Self::TestFilter | Self::Noop => "POST",
            Self::Pull | Self::AckLeases | Self::NackLeases | Self::ExtendLeases => "POST",
            Self::Find
            | Self::Status
            | Self::Stream
            | Self::Health
            | Self::Live
            | Self::Ready
            | Self::Metrics => "GET",
            Self::WrongMethod | Self::Unknown | Self::Refused => "other",
        }
    }
}

impl<'a> Target<'a> {
    /// Finds what is meant. Paths are compared as they are: nothing is decoded, and no slash is forgiven.
    pub(crate) fn find(method: &Method, path: &'a str, noop_enabled: bool) -> Self {
        let route = match path {
            EVENTS => Route::Publish,
            FILTER_TEST => Route::TestFilter,
            "/v1/events/stream" => return Self::of_stream(method),
            "/health" => Route::Health,
            "/healthz" => Route::Live,
            "/readyz" => Route::Ready,
            "/metrics" => Route::Metrics,
            "/noop" if noop_enabled => Route::Noop,
            _ => {
                if let Some(rest) = below(path, SUBSCRIPTIONS) {
                    return Self::of_subscription(method, rest);
                }
                return below(path, EVENTS).map_or(Self::Unknown, |rest| Self::of_event(method, rest));
            }
        };
        match route {
            Route::Publish | Route::TestFilter | Route::Noop if method == Method::POST => {
                Self::Route(route, "")
            }
            Route::Publish | Route::TestFilter | Route::Noop => Self::WrongMethod("POST"),
            route => Self::get(method, route, ""),
        }
    }

    /// The events as a stream, in both directions.
    fn of_stream(method: &Method) -> Self {
        match *method {
            Method::POST => Self::Route(Route::PublishStream, ""),
            // A stream has nothing but its body, so there is no HEAD.
            Method::GET => Self::Route(Route::Stream, ""),
            _ => Self::WrongMethod("GET, POST"),
        }
    }

    /// What consumers do with a subscription, below its name.
    fn of_subscription(method: &Method, rest: &'a str) -> Self {
        let Some((name, action)) = rest.split_once('/').filter(|(name, _)| !name.is_empty()) else {
            return Self::Unknown;
        };
        let route = match action {
            "pull" => Route::Pull,
            "ack" => Route::AckLeases,
            "nack" => Route::NackLeases,
            "extend" => Route::ExtendLeases,
            _ => return Self::Unknown,
        };
        if method == Method::POST { Self::Route(route, name) } else { Self::WrongMethod("POST") }
    }

    /// A resource below an event's id.
    fn of_event(method: &Method, rest: &'a str) -> Self {
        let (route, id) = match rest.strip_suffix("/status") {
            Some(id) => (Route::Status, id),
            None => (Route::Find, rest),
        };
        if id.is_empty() || id.contains('/') { Self::Unknown } else { Self::get(method, route, id) }
    }

    fn get(method: &Method, route: Route, id: &'a str) -> Self {
        // hyper leaves the body out of the answer to HEAD.
        match *method {
            Method::GET | Method::HEAD => Self::Route(route, id),
            _ => Self::WrongMethod("GET, HEAD"),
        }
    }
}

/// What follows a resource's path and a slash.
fn below<'a>(path: &'a str, resource: &str) -> Option<&'a str> {
    path.strip_prefix(resource)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_at_its_own_index() {
        for (index, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route as usize, index);
        }
    }

    #[test]
    fn paths_and_methods_lead_to_routes() {
        let find = |method: Method, path| Target::find(&method, path, false);
        assert_eq!(find(Method::POST, "/v1/events"), Target::Route(Route::Publish, ""));
        assert_eq!(find(Method::GET, "/v1/events"), Target::WrongMethod("POST"));
        assert_eq!(find(Method::GET, "/v1/events/abc"), Target::Route(Route::Find, "abc"));
        assert_eq!(find(Method::DELETE, "/v1/events/abc"), Target::WrongMethod("GET, HEAD"));
        assert_eq!(find(Method::GET, "/v1/events/abc/status"), Target::Route(Route::Status, "abc"));
        assert_eq!(find(Method::POST, "/v1/events/abc/status"), Target::WrongMethod("GET, HEAD"));
        assert_eq!(find(Method::GET, "/v1/events/stream"), Target::Route(Route::Stream, ""));
        assert_eq!(find(Method::POST, "/v1/events/stream"), Target::Route(Route::PublishStream, ""));
        assert_eq!(find(Method::HEAD, "/v1/events/stream"), Target::WrongMethod("GET, POST"));
        assert_eq!(find(Method::POST, "/v1/filters/test"), Target::Route(Route::TestFilter, ""));
        assert_eq!(find(Method::GET, "/v1/filters/test"), Target::WrongMethod("POST"));
        assert_eq!(find(Method::POST, "/v1/subscriptions/jobs/pull"), Target::Route(Route::Pull, "jobs"));
        assert_eq!(find(Method::POST, "/v1/subscriptions/jobs/ack"), Target::Route(Route::AckLeases, "jobs"));
        assert_eq!(find(Method::GET, "/v1/subscriptions/jobs/nack"), Target::WrongMethod("POST"));
        assert_eq!(find(Method::HEAD, "/healthz"), Target::Route(Route::Live, ""));
        for path in [
            "/",
            "/v1/events/",
            "/v1/events//status",
            "/v1/events/a/b",
            "/v1/eventsx",
            "/v1/subscriptions/jobs",
            "/v1/subscriptions//pull",
            "/v1/subscriptions/jobs/pull/",
            "/v1/subscriptions/jobs/x/pull",
            "/V1/events",
            "//v1/events",
            "/noop",
            "*",
        ] {
            assert_eq!(find(Method::POST, path), Target::Unknown, "{path}");
        }
        assert_eq!(Target::find(&Method::POST, "/noop", true), Target::Route(Route::Noop, ""));
    }
}
