export { t } from './fields.ts'
export type { Field, FieldKind, FieldOptions, Fields } from './fields.ts'
export type { Column, ColumnOf, Condition } from './expressions.ts'
export type {
  DistinctOptions,
  Feature,
  FeatureOptions,
  NullableOptions,
  Operators,
  Rows,
  SpreadOptions,
  WindowLength,
} from './rows.ts'
export type { Duration } from './marks.ts'
export { entity, event, group } from './sources.ts'
export type { Entity, Event, EventOptions, Group } from './sources.ts'
export { derived, service } from './services.ts'
export type { Derived, DerivedValue, RequestOf, Service, ServiceOptions, View } from './services.ts'
export { policy } from './policies.ts'
export type { Policy, PolicyOptions, PolicyView, Rule } from './policies.ts'
export type { FieldType, Include, Value } from '../kernel/types.ts'
