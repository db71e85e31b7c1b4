import Synchronization

/// A segment that is opened when it is first needed.
final class LazySegment: Sendable {
  private let segment = AtomicLazyReference<Segment>()
  private let opening = Mutex<Void>(())

  func value(_ open: () throws(CacheError) -> Segment) throws(CacheError) -> Segment {
    if let segment = segment.load() { return segment }
    return try opening.withLock { (_) throws(CacheError) in
      // Another thread may have been here first.
      if let segment = segment.load() { return segment }
      return segment.storeIfNil(try open())
    }
  }
}
