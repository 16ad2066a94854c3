//! Which resource a request is for.

use http::Method;

/// A resource with its method, as the metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Route {
    Publish,
    Find,
    Status,
    Stream,
    Health,
    Live,
    Ready,
    Metrics,
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
    /// A route, with the event's id for [`Route::Find`] and [`Route::Status`].
    Route(Route, &'a str),
    /// The methods that the resource has.
    WrongMethod(&'static str),
    Unknown,
}

const EVENTS: &str = "/v1/events";

impl Route {
    pub(crate) const ALL: [Self; 12] = [
        Self::Publish,
        Self::Find,
        Self::Status,
        Self::Stream,
        Self::Health,
        Self::Live,
        Self::Ready,
        Self::Metrics,
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
            Self::Stream => "/v1/events/stream",
            Self::Health => "/health",
            Self::Live => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::Noop => "/noop",
            Self::WrongMethod => "wrong_method",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn method_label(self) -> &'static str {
        match self {
            Self::Publish | Self::Noop => "POST",
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
            "/v1/events/stream" => Route::Stream,
            "/health" => Route::Health,
            "/healthz" => Route::Live,
            "/readyz" => Route::Ready,
            "/metrics" => Route::Metrics,
            "/noop" if noop_enabled => Route::Noop,
            _ => match path.strip_prefix(EVENTS).and_then(|rest| rest.strip_prefix('/')) {
                Some(rest) => return Self::of_event(method, rest),
                None => return Self::Unknown,
            },
        };
        match route {
            Route::Publish | Route::Noop if method == Method::POST => Self::Route(route, ""),
            Route::Publish | Route::Noop => Self::WrongMethod("POST"),
            route => Self::get(method, route, ""),
        }
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
        // hyper leaves the body out of the answer to HEAD; a stream has nothing but its body.
        match route {
            Route::Stream if method == Method::GET => Self::Route(route, id),
            Route::Stream => Self::WrongMethod("GET"),
            _ if method == Method::GET || method == Method::HEAD => Self::Route(route, id),
            _ => Self::WrongMethod("GET, HEAD"),
        }
    }
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
        assert_eq!(find(Method::HEAD, "/healthz"), Target::Route(Route::Live, ""));
        for path in [
            "/",
            "/v1/events/",
            "/v1/events//status",
            "/v1/events/a/b",
            "/v1/eventsx",
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
