import { joinKey } from '../../features/plan/entity-key.ts'
import type { EntityPlan } from '../../features/plan/plan.ts'
import { ServerError } from '../ports/server.ts'
import type { EntityName } from '../ports/server.ts'

/**
 * The ids of the entities that a caller named, by entity type, for groups of these entities. Throws `INVALID_REQUEST`
 * for one that is missing, and for a key that does not have the parts of the entity's.
 */
export function entityIds(
  plans: readonly EntityPlan[],
  groups: readonly { readonly name: string; readonly entity: string }[],
  named: Readonly<Record<string, EntityName>>,
): ReadonlyMap<string, string> {
  const ids = new Map<string, string>()
  for (const { name, entity } of groups) {
    if (ids.has(entity)) continue
    const given = Object.hasOwn(named, entity) ? named[entity] : undefined
    const keyFields = plans.find(plan => plan.name === entity)?.keyFields ?? []
    if (given === undefined) {
      const parts = keyFields.length > 1 ? ` (${keyFields.join(', ')})` : ''
      const message = `group "${name}" is of entity "${entity}", whose key${parts} is missing`
      throw new ServerError('INVALID_REQUEST', `entities: ${message}`)
    }
    ids.set(entity, idOf(entity, keyFields, given))
  }
  return ids
}

function idOf(entity: string, keyFields: readonly string[], given: EntityName): string {
  const refuse = (message: string): never => {
    throw new ServerError('INVALID_REQUEST', `entities: ${message}`)
  }
  const fields = keyFields.join(', ')
  if (typeof given === 'string') {
    if (keyFields.length === 1) return given
    return refuse(`the key of entity "${entity}" has the parts ${fields}; give each of them by its name`)
  }
  const unknown = Object.keys(given).find(name => !keyFields.includes(name))
  if (unknown !== undefined) refuse(`the key of entity "${entity}" has no part "${unknown}"; it has ${fields}`)
  const parts = keyFields.map(name =>
    Object.hasOwn(given, name) ? given[name]! : refuse(`the key of entity "${entity}" lacks its part "${name}"`),
  )
  return joinKey(parts)
}
