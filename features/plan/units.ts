import type { FeatureRead, Point, UnitSpec } from '../kernel/types.ts'
import type { DecodedEvent } from './event.ts'
import type { FeaturePlan, GroupPlan, Plan, SourcePlan } from './plan.ts'

/** A unit with all that is needed to feed and read it. */
export interface BoundUnit {
  readonly id: number
  readonly source: SourcePlan
  readonly entity: string
  /** Index into the source's fields of the entity's key. */
  readonly keyFieldIndex: number
  readonly spec: UnitSpec
  /** null when the event's key is null: the event does not concern this entity. */
  entityId(event: DecodedEvent): string | null
  project(event: DecodedEvent): Point
}

export interface BoundFeature {
  readonly plan: FeaturePlan
  readonly unit: BoundUnit
  readonly read: FeatureRead
}

export interface BoundGroup {
  readonly plan: GroupPlan
  readonly features: readonly BoundFeature[]
}

/** A plan whose features are placed in stored units. */
export interface BoundPlan {
  readonly plan: Plan
  readonly units: readonly BoundUnit[]
  readonly groups: ReadonlyMap<string, BoundGroup>
}
