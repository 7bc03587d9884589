//! Records that look like what people send: lines of a web server's access log, from a seed.

use purlin::env::rng::Seeded;

/// A stream of numbers that is the same for the same seed.
#[derive(Debug, Clone)]
pub struct Chance(Seeded);

impl Chance {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Seeded::new(seed))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let at = usize::try_from(self.below(from.len() as u64)).expect("a small number");
        from[at]
    }
}

/// One record, as it should come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 0; also to be read from its value, or from its key if it has no value.
    pub index: usize,
    /// Milliseconds since 1970 UTC.
    pub timestamp: i64,
    /// The key, or none.
    pub key: Option<String>,
    /// Names and values, in order; a name may come twice.
    pub headers: Vec<(String, String)>,
    /// The value; none is a tombstone.
    pub value: Option<String>,
}

const METHODS: &[&str] = &["GET", "GET", "GET", "GET", "POST", "PUT", "HEAD"];
const PATHS: &[&str] = &[
    "/",
    "/index.html",
    "/assets/app.js",
    "/assets/app.css",
    "/api/v2/orders",
    "/api/v2/orders/items",
    "/search?q=z%C3%BCrich",
    "/blog/2026/11/sägewerk",
    "/login",
    "/static/logo.svg",
    "/données/été.csv",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "curl/8.9.1",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
];
const REFERRERS: &[&str] = &["-", "https://example.org/", "https://example.com/shop?page=3"];
const SITES: &[&str] = &["fra-1", "zrh-2", "ams-1"];

/// `count` records from `seed`, the last of them not long before `now`.
pub fn access_log(seed: u64, count: usize, now: i64) -> Vec<Record> {
    let mut chance = Chance::new(seed);
    let mut timestamp = now - 40 * i64::try_from(count).expect("a small number") - 60_000;
    (0..count)
        .map(|index| {
            timestamp += i64::try_from(chance.below(40)).expect("a small number");
            record(&mut chance, index, timestamp)
        })
        .collect()
}

fn record(chance: &mut Chance, index: usize, timestamp: i64) -> Record {
    let address = format!("203.0.{}.{}", chance.below(8), chance.below(250) + 1);
    let line = format!(
        "{address} - - [{timestamp}] \"{} {} HTTP/1.1\" {} {} \"{}\" \"{}\" rid={index:08}",
        chance.pick(METHODS),
        chance.pick(PATHS),
        [200, 200, 200, 304, 404, 500][usize::try_from(chance.below(6)).expect("small")],
        chance.below(90_000),
        chance.pick(REFERRERS),
        chance.pick(AGENTS),
    );
    let mut headers = vec![("site".to_owned(), chance.pick(SITES).to_owned())];
    if chance.below(4) == 0 {
        headers.push(("trace".to_owned(), format!("{:016x}", chance.next())));
    }
    if chance.below(50) == 0 {
        // The same name twice is allowed, and the order counts.
        headers.push(("tag".to_owned(), "slow".to_owned()));
        headers.push(("tag".to_owned(), "cold".to_owned()));
    }
    if chance.below(60) == 0 {
        headers.clear();
    }
    let (key, value) = if index % 101 == 100 {
        (Some(format!("session-{index:08}")), None)
    } else if index % 97 == 96 {
        (None, Some(line))
    } else {
        (Some(address), Some(line))
    };
    Record { index, timestamp, key, headers, value }
}

/// The number of a record that came back, from its value or, for a tombstone, its key.
pub fn index_of(key: Option<&str>, value: Option<&str>) -> Option<usize> {
    match value {
        Some(value) => value.rsplit_once("rid=").and_then(|(_, number)| number.parse().ok()),
        None => {
            key.and_then(|key| key.strip_prefix("session-")).and_then(|number| number.parse().ok())
        }
    }
}

/// `name=value,name=value`.
pub fn show_headers(headers: &[(String, String)]) -> String {
    headers.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// Stands for "none" in the line formats of the tests.
pub const NONE: &str = "\\N";

/// The one line that every reader's record is turned into before readers are compared.
pub fn canonical(
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<&str>,
    headers: &str,
    value: Option<&str>,
) -> String {
    format!(
        "{partition}\t{offset}\t{timestamp}\t{}\t{headers}\t{}",
        key.unwrap_or(NONE),
        value.unwrap_or(NONE)
    )
}
