import ArgumentParser
import Patching

/// The metrics of some lists of names separated by commas, each once.
///
/// - Throws: `ValidationError`.
func answerMetrics(_ lists: [String]) throws -> [AnswerMetric] {
  let names = lists.flatMap {
    $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
  }
  let metrics = try names.map { name in
    guard let metric = AnswerMetric(rawValue: name) else {
      let known = AnswerMetric.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("There is no metric '\(name)'; there are \(known).")
    }
    return metric
  }
  guard Set(metrics).count == metrics.count else {
    throw ValidationError("--metric names a metric twice.")
  }
  return metrics
}
