export { t } from './fields.ts'
export type { DecimalType, Field, FieldKind, FieldOptions, Fields, VectorType } from './fields.ts'
export type { Column, ColumnOf, Condition } from './expressions.ts'
export type {
  BoundOptions,
  Feature,
  FeatureOptions,
  NullableBoundOptions,
  NullableOptions,
  QuantileOptions,
  SetOptions,
  SpreadOptions,
} from './features.ts'
export type { Operators } from './operators.ts'
export type { Rows } from './rows.ts'
export { lastEvents, session, tumbling } from './windows.ts'
export type {
  BoundedWindow,
  LastEventsWindow,
  MeasuredWindow,
  SessionWindow,
  TumblingWindow,
  WindowLength,
} from './windows.ts'
export type { Duration } from './marks.ts'
export { entity, event, group } from './sources.ts'
export type { Entity, EntityKey, Event, EventOptions, Group } from './sources.ts'
export { union } from './unions.ts'
export type { Union, UnionMember, UnionOptions } from './unions.ts'
export { derived, service } from './services.ts'
export type { Derived, DerivedValue, DerivedView, RequestOf, Service, ServiceOptions, View } from './services.ts'
export { policy } from './policies.ts'
export type { Policy, PolicyOptions, PolicyView, Rule } from './policies.ts'
export type { FieldType, Include, Value } from '../kernel/types.ts'
export { countOf, difference, ratio, relativeChange, repeatedShare, share, shareOf, zScore } from './helpers/ratio.ts'
export type { CategoryPairs, RatioOptions } from './helpers/ratio.ts'
export { greatCircleKm, impossibleTravel, speedKmh, travelSpeedKmh } from './helpers/places.ts'
export type { Place, TravelOptions } from './helpers/places.ts'
export { digitShare, textLength, upperCaseShare, urlCount, urlShare } from './helpers/text.ts'
