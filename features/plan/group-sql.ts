import { clickHouseType, sqlIdentifier, sqlString } from './expression-sql.ts'
import { memberField } from './group-source.ts'
import type { GroupSource } from './group-source.ts'
import type { SourcePlan } from './plan.ts'

/**
 * The id of an entity as a ClickHouse expression, the text that `entityNamer` makes: NULL where a part of the key is.
 * @param columns expressions of the key fields, in the order of the entity's key
 */
export function entityIdSql(columns: readonly string[]): string {
  const texts = columns.map(column => `toString(${column})`)
  if (texts.length === 1) return texts[0]!
  const escaped = texts.map(text =>
    ['\\', '|'].reduce((sql, mark) => `replaceAll(${sql}, ${sqlString(mark)}, ${sqlString(`\\${mark}`)})`, text),
  )
  return `concat(${escaped.join(`, '|', `)})`
}

/**
 * The events of a group's source as one ClickHouse subquery, as `FeatureRelations.events` wants them with `ofUnion`: of
 * each kind of event what `relationOf` names, under the names of the source's fields.
 * @param keyFields of the group
 * @param relationOf a table or subquery of the events of a kind that the entity accepted: `_time`, `_id` and the
 * event's own fields
 */
export function groupEventsSql(
  source: GroupSource,
  keyFields: readonly string[],
  relationOf: (event: SourcePlan) => string,
): string {
  const selects = source.members.map(member => {
    // Qualified, since a bare name would be taken for a field of the union that is called so.
    const column = (name: string): string => `e.${sqlIdentifier(memberField(member, name))}`
    const fields = source.fields.map(
      ({ name, type }) => `CAST(${column(name)} AS ${clickHouseType(type, true)}) AS ${sqlIdentifier(name)}`,
    )
    const entity = entityIdSql(keyFields.map(column))
    return `SELECT assumeNotNull(${entity}) AS _entity, ${sqlString(member.source.name)} AS _event,
  e._time AS _time, e._id AS _id, ${fields.join(', ')}
FROM ${relationOf(member.source)} AS e
WHERE ${keyFields.map(name => `isNotNull(${column(name)})`).join(' AND ')}`
  })
  return `(${selects.join('\nUNION ALL\n')})`
}
