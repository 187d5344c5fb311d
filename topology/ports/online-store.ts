/**
 * The online store. State is a max-register by log position, with the fence in the data: a section is replaced only by
 * one of a larger position, and a flush is accepted only while the stored canary is at least the one its writer last
 * saw acknowledged. A section whose blocks are not all written with it names the section that they were stored with, for
 * that one may have been ahead of the canary and lost since.
 *
 * Offsets here are those of the last applied record, −1 for none.
 */

/** The state that one source partition contributed to one (entity, unit). */
export interface Section {
  readonly incarnation: string
  readonly partition: number
  /** Offset of the last record applied to it. */
  readonly position: number
  readonly bytes: Uint8Array
  /** Bit i is set when blocks of level i lie beside it; 0 for a section that is whole in `bytes`. */
  readonly levels: number
  /** Those asked for that exist and whose level is in `levels`, by id. */
  readonly blocks: ReadonlyMap<number, Uint8Array>
}

/**
 * A part of a section stored beside it, so that it is read and written only when it is needed. The id is
 * `16 · index + level`, a safe integer; blocks belong to one (key, incarnation, partition).
 */
export interface Block {
  readonly id: number
  readonly bytes: Uint8Array
}

/** Blocks to forget: those of the level whose index is below. */
export interface BlockDrop {
  readonly level: number
  readonly belowIndex: number
}

/** A shard of one unit fed by one partition of one life of a topic: what one canary speaks of. */
export interface Lane {
  readonly unit: number
  readonly incarnation: string
  readonly partition: number
}

/** How far one shard of a lane is written. */
export interface Canary {
  /** Everything up to this offset is written in this shard. */
  readonly offset: number
  /** Arrival time of the record at `offset`; a record found there with another one means a truncated topic. */
  readonly arrivalMs: number
}

/** A section to store for the lane being flushed; refused where a position at least as large is stored and alive. */
export interface SectionWrite {
  readonly key: string
  readonly position: number
  readonly bytes: Uint8Array
  /** As in `Section`; stored blocks of levels that it no longer has are forgotten. */
  readonly levels: number
  /** Written with the section or, when that is refused, not at all; each takes the place of one with its id. */
  readonly blocks: readonly Block[]
  /**
   * Position of the stored section whose other blocks this write leaves as they are; −1 where it relies on none. Where
   * the stored position is lower, or no section is stored, the store has lost blocks: the shard is fenced.
   */
  readonly base: number
  /** Done before `blocks` are written, and like them not at all when the section is refused. */
  readonly drops: readonly BlockDrop[]
  /** Time to live, of the blocks too; 0 for none. */
  readonly ttlMs: number
}

/** What a writer wants stored in one shard, and the fence it is stored under. All keys belong to `shard`. */
export interface ShardFlush {
  readonly shard: number
  /** What this writer last saw acknowledged. */
  readonly expected: Canary
  readonly next: Canary
  readonly writes: readonly SectionWrite[]
}

/** What became of one `ShardFlush`; `canary` is the stored one afterwards. */
export type FlushOutcome =
  | {
      readonly ok: true
      readonly canary: Canary
      /** Writes refused because a larger position was stored. */ readonly refused: number
    }
  /**
   * Nothing of this shard was written: the stored canary is lower than expected, or missing (null), or a section that
   * a write is based on is not stored.
   */
  | { readonly ok: false; readonly canary: Canary | null }

/** A section that a writer asks for, with some of its blocks. */
export interface LoadKey {
  readonly key: string
  readonly blocks: readonly number[]
}

/** State that a serving read asks for. */
export interface ReadKey {
  readonly key: string
  /** Ids of the blocks that the read may need; called at most once a read, and only for a key that has blocks. */
  blocks(): readonly number[]
}

/** What a writer's load found. Not `ok`: the stored canary is lower than expected, or missing (null). */
export type LoadOutcome =
  /** One entry per key: this lane's own section, null where absent. */
  | { readonly ok: true; readonly sections: readonly (Section | null)[] }
  | { readonly ok: false; readonly canary: Canary | null }

/** Where a pipeline stands; published about once a second, outside the state. */
export interface Progress {
  /** The reader and the units that it feeds, such as `payment.r1`. */
  readonly feed: string
  readonly partition: number
  readonly offset: number
  readonly arrivalMs: number
  /** The last time the worker had nothing left to read. */
  readonly caughtUpAtMs: number
}

/** Sections, canaries, progress and documents of one deployment. Errors carry code `STORE_UNAVAILABLE`. */
export interface OnlineStore {
  readonly capabilities: { readonly survivesProcess: boolean; readonly timeToLive: boolean }
  /** Sets every shard's canary where none is stored; returns all that are stored afterwards, by shard. */
  initialiseCanaries(lane: Lane, shardCount: number, start: Canary): Promise<readonly Canary[]>
  /** By shard; null where missing. */
  readCanaries(lane: Lane, shardCount: number): Promise<readonly (Canary | null)[]>
  /** Each shard is atomic by itself; the canary is written last and never moves back. */
  flush(lane: Lane, shards: readonly ShardFlush[]): Promise<readonly FlushOutcome[]>
  /** Reads sections for a writer, with the same fence as `flush`. All keys belong to `shard`. */
  load(lane: Lane, shard: number, expected: Canary, keys: readonly LoadKey[]): Promise<LoadOutcome>
  /**
   * The serving read: one round trip; every section of every key, in key order, with those of the asked blocks whose
   * level the section has. Sections and their blocks are of one moment. Absence means empty.
   */
  read(keys: readonly ReadKey[]): Promise<readonly (readonly Section[])[]>
  /** Small named documents beside the state: the catalogue of units. Compare-and-set on the previous text. */
  readDocument(name: string): Promise<string | null>
  writeDocument(name: string, expected: string | null, next: string): Promise<boolean>
  publishProgress(progress: readonly Progress[]): Promise<void>
  readProgress(): Promise<readonly Progress[]>
  close(): Promise<void>
}

/** Shards of every lane. Part of the online layout: another number would place keys elsewhere. */
export const SHARD_COUNT = 256
