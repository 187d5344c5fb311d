/** A topic as it is asked for. */
export interface TopicSpec {
  readonly name: string
  readonly partitions: number
  /** 0 keeps records for ever. */
  readonly retentionMs: number
}

/** A topic as it exists. */
export interface TopicInfo {
  readonly name: string
  readonly incarnation: string
  readonly partitions: number
  /** 0 keeps records for ever. */
  readonly retentionMs: number
  /** Of each partition, in bytes; 0 where size removes nothing. */
  readonly retentionBytes: number
  /** Whether older records of a key are removed: then the log no longer holds what was counted. */
  readonly compacted: boolean
  /** Whether records carry the time at which the log took them, instead of one that their producer stated. */
  readonly appendTime: boolean
  /** Copies of each partition, this one included. */
  readonly replicas: number
  /** Copies that must have a record before its append is acknowledged; absent in a log without copies. */
  readonly minInSyncReplicas?: number
  /** Whether a copy that lacks acknowledged records may take over when no other is left: they are lost then. */
  readonly uncleanElection?: boolean
}

/** A record to append; its position and, unless stated, its arrival time are the log's to give. */
export interface NewRecord {
  readonly topic: string
  /** Decides the partition (hash of the UTF-8 bytes, as Kafka's default partitioner); absent: `partition` must be set. */
  readonly key: string | null
  readonly partition?: number
  readonly value: Uint8Array
  readonly headers?: Readonly<Record<string, string>>
  /**
   * When the record became known, for imported history; absent: now. What is stored is the running maximum within the
   * partition, so that "known at" is always a prefix of the log.
   * A time that is not over yet is no arrival: a log may take the time of the append in its place.
   */
  readonly arrivalMs?: number
}

/** Where an appended record lies within its topic. */
export interface Position {
  readonly partition: number
  readonly offset: number
}

/** A record as it is stored. `arrivalMs`, in UTC milliseconds, is its append time or what was stated when imported. */
export interface LogRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string | null
  readonly value: Uint8Array
  readonly headers: Readonly<Record<string, string>>
  /**
   * The same for everyone who reads the record. Monotone within the partition: always in the embedded log; in Kafka as
   * far as the brokers' clocks are, and while history is not imported beside live producers.
   */
  readonly arrivalMs: number
}

/** Records of one partition in offset order, gaps allowed (compaction, transactions). */
export interface Batch {
  readonly topic: string
  readonly incarnation: string
  readonly partition: number
  readonly records: readonly LogRecord[]
  /** The offset that was asked for: the log holds no record between it and the first one here. */
  readonly fetchedOffset: number
  /** The next offset after this batch. */
  readonly nextOffset: number
  /** The offset that the next append to this partition would take, as known when the batch was read. */
  readonly endOffset: number
}

/** What one partition holds: the offsets from `startOffset` up to, not including, `endOffset`. */
export interface PartitionBounds {
  readonly incarnation: string
  /** First retained offset. */
  readonly startOffset: number
  /** The offset the next append will take. */
  readonly endOffset: number
}

/** What a consumer calls for each partition that it is assigned. */
export interface ConsumerHandlers {
  /**
   * Called when a partition is assigned, before its first batch. Returns the offset to start at, or null to start at
   * the committed offset (the log's first record where none is committed).
   */
  assigned(topic: string, partition: number, bounds: PartitionBounds): Promise<number | null>
  /** One call at a time per partition; batches of different partitions may interleave. Throwing retries the batch. */
  batch(batch: Batch, control: ConsumerControl): Promise<void>
  /** Called about every 20 ms while a partition has no new records, so that pending work can be flushed. */
  idle(topic: string, partition: number, endOffset: number, control: ConsumerControl): Promise<void>
  /** The last call for a partition: pending work is flushed and may still be committed. */
  revoked(topic: string, partition: number): Promise<void>
}

/**
 * What a handler may ask of its consumer. For a partition that is not assigned `commit` rejects with code
 * `UNKNOWN_TOPIC`; the others do nothing.
 */
export interface ConsumerControl {
  /** Everything below `offset` is done. */
  commit(topic: string, partition: number, offset: number): Promise<void>
  /** The next batch of this partition starts at `offset`. */
  seek(topic: string, partition: number, offset: number): void
  pause(topic: string, partition: number): void
  resume(topic: string, partition: number): void
}

/** A member of a consumer group that is running. */
export interface Consumer {
  /** Ends consumption after the call in progress, then revokes every partition; resolves when no handler runs any more. */
  stop(): Promise<void>
}

/**
 * The event log: partitioned, ordered, append-only, as in Kafka. Offsets start at 0 and grow by one within a
 * partition. `incarnation` names one life of a topic: a topic that is deleted and made again has another.
 */
export interface EventLog {
  readonly capabilities: {
    /** Members of a group share partitions; absent: every member gets all of them (harmless, state is a max-register). */
    readonly groupBalancing: boolean
    readonly survivesProcess: boolean
  }
  /**
   * Makes absent topics and leaves others as they are. One that has fewer partitions than asked for is an error of code
   * `TOPIC_MISMATCH`; it may have grown.
   */
  ensureTopics(topics: readonly TopicSpec[]): Promise<readonly TopicInfo[]>
  deleteTopic(name: string): Promise<void>
  describe(name: string): Promise<TopicInfo | null>
  bounds(topic: string, partition: number): Promise<PartitionBounds>
  /** Durable when resolved; positions in argument order. Unknown topics are an error of code `UNKNOWN_TOPIC`. */
  append(records: readonly NewRecord[]): Promise<readonly Position[]>
  /** A bounded read without a group, for tools, audits and tests. */
  read(topic: string, partition: number, fromOffset: number, maxRecords: number): Promise<Batch>
  committed(group: string, topic: string, partition: number): Promise<number | null>
  consume(options: {
    readonly group: string
    readonly topics: readonly string[]
    readonly maxBatchRecords: number
    readonly maxBatchBytes: number
    readonly handlers: ConsumerHandlers
    /** Called with an error that stopped a partition for good, or one that a retry follows. */
    readonly onError: (error: Error, topic: string, partition: number) => void
  }): Promise<Consumer>
  close(): Promise<void>
}
