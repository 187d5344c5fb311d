import type { FieldType, SectionLayout } from '../kernel/types.ts'
import type { CataloguePartial } from './partials.ts'
import type { Expression } from './plan.ts'

/** What makes a unit one event's share of a union, whose field names all other parts of the unit use. */
export interface CatalogueUnion {
  /** By each field of the union that the unit looks at: the event's field. */
  readonly fields: Readonly<Record<string, string>>
  /** The units that keep the same of the union's events, one each, and are read together: this one among them. */
  readonly units: readonly number[]
}

/** A unit as it was frozen when it was created; never changed afterwards. */
export interface CatalogueUnit {
  readonly id: number
  readonly entity: string
  /** The event that feeds it. */
  readonly source: string
  /** The fields that hold the parts of the entity's key. */
  readonly keyFields: readonly string[]
  /** Null for a unit of an event's own fields. */
  readonly union: CatalogueUnion | null
  readonly columns: readonly { readonly field: string; readonly type: FieldType }[]
  readonly filters: readonly Expression[]
  /** The fields that the filters look at. */
  readonly filterFields: readonly { readonly field: string; readonly type: FieldType }[]
  readonly partials: readonly CataloguePartial[]
  readonly latenessMs: number
  readonly horizonMs: number
  readonly retentionMs: number
  /** As in `UnitSpec`. */
  readonly edgeMs: number
  readonly rawMs: number
  readonly layout: SectionLayout
  /** State hashes of the features it can answer. */
  readonly covers: readonly string[]
}

/**
 * Units of one source created together: they are fed by one reader, so that a later addition catches up without
 * holding them back.
 */
export interface CatalogueRevision {
  readonly revision: number
  readonly source: string
  /** The topic's life in which the units were created. */
  readonly incarnation: string
  /** By partition: the first offset the units count from. */
  readonly start: readonly number[]
  /** By partition: records before this offset were judged for lateness by an earlier revision. */
  readonly liveFrom: readonly number[]
  readonly units: readonly CatalogueUnit[]
}

/** Which units exist, kept beside the state they describe. */
export interface Catalogue {
  readonly format: 2
  readonly nextUnit: number
  readonly revisions: readonly CatalogueRevision[]
}

/** The catalogue of a namespace in which no unit was ever made; numbering starts at 1. */
export const EMPTY_CATALOGUE: Catalogue = { format: 2, nextUnit: 1, revisions: [] }

/**
 * The catalogue as it is stored, or the empty one for null. Throws `RangeError` for another format: the state beside it
 * has another form too, and must not be taken for this one.
 */
export function parseCatalogue(text: string | null): Catalogue {
  if (text === null) return EMPTY_CATALOGUE
  const stored = JSON.parse(text) as { readonly format?: unknown }
  if (stored.format === EMPTY_CATALOGUE.format) return stored as Catalogue
  throw new RangeError(
    `the online store holds state of format ${JSON.stringify(stored.format) ?? 'none'}, this version reads and writes format ${EMPTY_CATALOGUE.format}: empty the online store, and the features are computed again from the first event in the log, or go on with the version that wrote it`,
  )
}
