import Glibc

/// Tries again what fails for a reason that may pass.
struct Persistence {
  let patience: HubClient.Patience
  private var failures = 0

  init(_ patience: HubClient.Patience) { self.patience = patience }

  /// Waits before another try, or throws the error where there should be none.
  ///
  /// - Parameters:
  ///   - hasProgressed: whether the failed try brought something new; then the count begins anew.
  ///   - hasAnswered: whether the server has ever answered. One that has not will hardly do so now.
  mutating func wait(
    after error: HubError, hasProgressed: Bool, hasAnswered: Bool, report: (FetchEvent) -> Void
  ) throws(HubError) {
    failures = hasProgressed ? 1 : failures + 1
    guard error.isTransient, hasAnswered, failures < patience.tries else { throw error }
    var seconds = patience.pause * Double(1 << min(failures - 1, 10))
    if case .busy(_, _, let asked?) = error {
      guard asked <= patience.longestPause else { throw error }
      seconds = max(seconds, Double(asked))
    }
    report(.triesAgain(after: error, seconds: seconds))
    usleep(UInt32(min(seconds, 600) * 1e6))
  }
}
