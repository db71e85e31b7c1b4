import Glibc

/// Runs `body` on some new threads and `meanwhile` on the calling one, and returns when all are done. `meanwhile`
/// gets the number of threads: fewer, and it may be none, where the system gives no more.
///
/// They are threads of their own, not those that Dispatch shares out: there are as many of these as CPUs, and one
/// that is busy elsewhere would leave this work to fewer.
func withThreads<Failure: Error>(
  _ count: Int, _ body: @Sendable () -> Void, meanwhile: (Int) throws(Failure) -> Void
) throws(Failure) {
  try withoutActuallyEscaping(body) { (body) throws(Failure) in
    let start = Start(body)
    var threads: [pthread_t] = []
    for _ in 0..<count {
      var thread = pthread_t()
      let code = pthread_create(
        &thread, nil,
        { argument in
          guard let argument else { return nil }
          Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().body()
          return nil
        }, Unmanaged.passRetained(start).toOpaque())
      guard code == 0 else {
        Unmanaged.passUnretained(start).release()
        break
      }
      threads.append(thread)
    }
    defer { for thread in threads { pthread_join(thread, nil) } }
    try meanwhile(threads.count)
  }
}

/// What a thread runs.
private final class Start: Sendable {
  let body: @Sendable () -> Void

  init(_ body: @escaping @Sendable () -> Void) {
    self.body = body
  }
}
