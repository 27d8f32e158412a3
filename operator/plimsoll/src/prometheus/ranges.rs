//! Range queries. Their answers are the largest of all, so they are read into what is needed and nothing else.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

use super::{Prometheus, PrometheusError};

/// Series of an answer that the anomaly scorer reads; it watches a tenth of that.
const SCORING_SERIES: usize = 5000;

/// One series of a range query.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Range {
    /// Its labels.
    #[serde(default)]
    pub metric: BTreeMap<String, String>,
    /// Missing where a series has native histograms alone.
    #[serde(default)]
    values: Vec<Point>,
}

impl Range {
    /// Time in seconds since 1970 and value of each sample, in order.
    pub fn samples(&self) -> impl Iterator<Item = (f64, f64)> {
        self.values.iter().map(|Point(time, Number(value))| (*time, *value))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct Point(f64, Number);

/// A value, that Prometheus writes as a string; what is no number is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Number;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number as a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                Ok(Number(text.parse().unwrap_or(f64::NAN)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// An answer, of whose series so many are kept.
#[derive(Deserialize)]
struct Matrix<const MOST: usize> {
    #[serde(default)]
    result: Series<MOST>,
}

#[derive(Default)]
struct Series<const MOST: usize> {
    kept: Vec<Range>,
    found: usize,
}

impl<'de, const MOST: usize> Deserialize<'de> for Series<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<const MOST: usize>;
        impl<'de, const MOST: usize> Visitor<'de> for All<MOST> {
            type Value = Series<MOST>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("series with their samples")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Series<MOST>, A::Error> {
                let mut series = Series::default();
                while series.kept.len() < MOST {
                    let Some(range) = all.next_element()? else { break };
                    series.kept.push(range);
                }
                series.found = series.kept.len();
                while series.found >= MOST && all.next_element::<IgnoredAny>()?.is_some() {
                    series.found += 1;
                }
                Ok(series)
            }
        }
        deserializer.deserialize_seq(All::<MOST>)
    }
}

impl Prometheus {
    /// A range query, from and to these seconds since 1970, with so many seconds between samples.
    ///
    /// # Errors
    /// Names the address and the cause.
    pub async fn query_range(
        &self,
        promql: &str,
        from: u64,
        to: u64,
        step: u64,
    ) -> Result<Vec<Range>, PrometheusError> {
        let [start, end, step] = [from, to, step].map(|seconds| seconds.to_string());
        let mut query = vec![("query", promql), ("start", &start), ("end", &end), ("step", &step)];
        if !self.whole {
            let matrix: Matrix<{ usize::MAX }> = self.get("api/v1/query_range", &query).await?;
            return Ok(matrix.result.kept);
        }
        // Thanos and VictoriaMetrics leave out what does not answer unless they are told not to; others know neither.
        query.extend([("partial_response", "false"), ("deny_partial_response", "1")]);
        let matrix: Matrix<SCORING_SERIES> = self.get("api/v1/query_range", &query).await?;
        let Series { kept, found } = matrix.result;
        if found > SCORING_SERIES {
            let cause = format!("its answer has {found} series, of which at most {SCORING_SERIES} are read");
            return Err(PrometheusError::Refused { url: self.url(), cause });
        }
        Ok(kept)
    }
}
