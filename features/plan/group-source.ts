import type { FieldPlan, GroupPlan, Plan, SourcePlan, UnionPlan } from './plan.ts'

/** An event that feeds groups, with the place of their fields in it. */
export interface MemberSource {
  readonly source: SourcePlan
  /** By field of the group's source: the name of the event's field; null where the fields are the event's own. */
  readonly fields: Readonly<Record<string, string>> | null
}

/** What groups are computed from: one event, or several that a union brings under one shape. */
export interface GroupSource {
  readonly name: string
  readonly fields: readonly FieldPlan[]
  /** One or more; of a union in the order of their names. */
  readonly members: readonly MemberSource[]
}

/** An event as the source of groups. */
export function eventSource(source: SourcePlan): GroupSource {
  return { name: source.name, fields: source.fields, members: [{ source, fields: null }] }
}

/** A union as the source of groups. Throws `RangeError` that names an event which is not among the sources. */
export function unionSource(union: UnionPlan, sources: readonly SourcePlan[]): GroupSource {
  const members = union.members.map(({ source: name, fields }): MemberSource => {
    const source = sources.find(each => each.name === name)
    if (source === undefined)
      throw new RangeError(`the plan has no source "${name}", of which union "${union.name}" is`)
    return { source, fields }
  })
  return { name: union.name, fields: union.fields, members }
}

/** The source of a group by its name. Throws `RangeError` where the plan has none of this name. */
export function groupSource(plan: Pick<Plan, 'sources' | 'unions'>, name: string): GroupSource {
  const source = plan.sources.find(each => each.name === name)
  if (source !== undefined) return eventSource(source)
  const union = plan.unions.find(each => each.name === name)
  if (union !== undefined) return unionSource(union, plan.sources)
  throw new RangeError(`the plan has no source "${name}"`)
}

/** The names of the events that feed a group. Throws as `groupSource` does. */
export function eventsOf(plan: Pick<Plan, 'sources' | 'unions'>, group: Pick<GroupPlan, 'source'>): readonly string[] {
  return groupSource(plan, group.source).members.map(member => member.source.name)
}

/** The name that a member has for a field of the group's source. */
export function memberField({ fields }: MemberSource, name: string): string {
  return fields === null ? name : (fields[name] ?? '')
}

/** How far behind an entity's newest event features may be read: as far as any of the events asks for. */
export function horizonOf({ members }: GroupSource): number {
  return Math.max(...members.map(({ source }) => Math.max(source.latenessMs, source.readBackMs)))
}

/**
 * Whether all events of an entity with these key fields lie in one partition: one event feeds it, and its record key is
 * among the fields.
 */
export function inOnePartition({ members }: GroupSource, keyFields: readonly string[]): boolean {
  const [member] = members
  if (member === undefined || members.length > 1) return false
  return keyFields.some(name => memberField(member, name) === member.source.keyField)
}
