import { join, relative, sep } from 'node:path'
import type { RuleTester } from 'oxlint/plugins-dev'
import { importProblem, mayBeRandom, mayReadClockAndEnvironment, mustBePure, placeOf } from './boundaries.ts'
import type { Place } from './boundaries.ts'

type Rule = Extract<Parameters<RuleTester['run']>[1], { create: unknown }>
type Context = Parameters<Rule['create']>[0]
type Visitor = ReturnType<Rule['create']>
type Visited<Name extends keyof Visitor> = Parameters<NonNullable<Visitor[Name]>>[0]
type Member = Visited<'MemberExpression'>
type Node = Parameters<Context['sourceCode']['getScope']>[0]

const root = join(import.meta.dirname, '..', '..')

const clockMembers: Readonly<Record<string, readonly string[]>> = {
  process: ['env', 'hrtime', 'uptime', 'argv'],
  Date: ['now'],
  performance: ['now', 'timeOrigin', 'mark', 'measure'],
}
const randomMembers: Readonly<Record<string, readonly string[]>> = {
  Math: ['random'],
  crypto: ['randomUUID', 'getRandomValues'],
}
const impureGlobals = [
  'process',
  'fetch',
  'WebSocket',
  'console',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'performance',
  'require',
]
const localeMembers = [
  'localeCompare',
  'toLocaleString',
  'toLocaleUpperCase',
  'toLocaleLowerCase',
  'toLocaleDateString',
]

function placeIn(context: Context): Place {
  return placeOf(relative(root, context.filename).split(sep).join('/'))
}

function isGlobal(context: Context, node: Node, name: string): boolean {
  let scope: ReturnType<Context['sourceCode']['getScope']> | null = context.sourceCode.getScope(node)
  while (scope !== null) {
    const variable = scope.set.get(name)
    if (variable !== undefined && variable.defs.length > 0) return false
    scope = scope.upper
  }
  return true
}

function memberName(node: Member): string | null {
  if (!node.computed) return node.property.type === 'Identifier' ? node.property.name : null
  return node.property.type === 'Literal' && typeof node.property.value === 'string' ? node.property.value : null
}

/** Reports members of globals, read as `global.member`, `globalThis.global.member` or `const { member } = global`. */
function reportMembers(
  context: Context,
  members: Readonly<Record<string, readonly string[]>>,
  message: (read: string) => string,
): Visitor {
  const globalName = (node: Node): string | null => {
    if (node.type === 'Identifier') return isGlobal(context, node, node.name) ? node.name : null
    if (node.type !== 'MemberExpression' || node.object.type !== 'Identifier') return null
    return node.object.name === 'globalThis' ? memberName(node) : null
  }
  const report = (node: Node, object: string | null, member: string | null): void => {
    if (object === null || member === null || !Object.hasOwn(members, object)) return
    if (members[object]?.includes(member) === true) context.report({ node, message: message(`${object}.${member}`) })
  }
  return {
    MemberExpression(node) {
      report(node, globalName(node.object), memberName(node))
    },
    VariableDeclarator(node) {
      if (node.init === null || node.id.type !== 'ObjectPattern') return
      const object = globalName(node.init)
      for (const property of node.id.properties) {
        if (property.type === 'Property' && property.key.type === 'Identifier') report(node, object, property.key.name)
      }
    },
  }
}

const imports: Rule = {
  create(context) {
    const place = placeIn(context)
    const check = (node: Node, source: Node | null): void => {
      if (source === null || source.type !== 'Literal' || typeof source.value !== 'string') return
      const problem = importProblem(place, source.value)
      if (problem !== null) context.report({ node, message: problem })
    }
    return {
      ImportDeclaration: node => check(node, node.source),
      ExportNamedDeclaration: node => check(node, node.source),
      ExportAllDeclaration: node => check(node, node.source),
      ImportExpression: node => check(node, node.source),
      TSImportType: node => check(node, node.source),
    }
  },
}

const clock: Rule = {
  create(context) {
    if (mayReadClockAndEnvironment(placeIn(context))) return {}
    const message = (read: string): string =>
      `${read}: the environment and the system clock are read in services/ alone; take a Clock or an argument`
    return {
      ...reportMembers(context, clockMembers, message),
      NewExpression(node) {
        if (node.callee.type !== 'Identifier' || node.callee.name !== 'Date' || node.arguments.length > 0) return
        if (isGlobal(context, node, 'Date')) context.report({ node, message: message('new Date()') })
      },
      CallExpression(node) {
        if (node.callee.type !== 'Identifier' || node.callee.name !== 'Date') return
        if (isGlobal(context, node, 'Date')) context.report({ node, message: message('Date()') })
      },
    }
  },
}

const randomness: Rule = {
  create(context) {
    if (mayBeRandom(placeIn(context))) return {}
    return reportMembers(
      context,
      randomMembers,
      read => `${read}: chance is an argument; take a seeded generator (only topology/adapters may use it)`,
    )
  },
}

const purity: Rule = {
  create(context) {
    const place = placeIn(context)
    if (!mustBePure(place)) return {}
    const where = place.top === 'features' ? 'features/' : 'topology/processors'
    return {
      Identifier(node) {
        if (!impureGlobals.includes(node.name) || !isReference(node) || !isGlobal(context, node, node.name)) return
        context.report({ node, message: `${where} is pure: ${node.name} reaches outside it` })
      },
      MemberExpression(node) {
        const name = memberName(node)
        if (name === null || !localeMembers.includes(name)) return
        context.report({ node, message: `${where} is pure: ${name} depends on the machine's locale` })
      },
    }
  },
}

/** Whether an identifier reads a variable, rather than naming a member, a property, a type's member or a declaration. */
function isReference(node: Node): boolean {
  const parent = node.parent
  if (parent === null || parent === undefined) return false
  if (parent.type === 'MemberExpression') return parent.computed || parent.object === node
  if (parent.type === 'Property') return parent.shorthand || parent.computed || parent.value === node
  return !/^(TS.*|MethodDefinition|PropertyDefinition|LabeledStatement|Import.*|Export.*|.*Function.*)$/.test(
    parent.type,
  )
}

const wildcards: Rule = {
  create(context) {
    return {
      ExportAllDeclaration(node) {
        context.report({ node, message: 'no wildcard re-exports: name what is exported' })
      },
    }
  },
}

/** The rules of the repository that no ready-made rule expresses; `.oxlintrc.json` loads them under `headwater/`. */
const plugin = {
  meta: { name: 'headwater' },
  rules: { imports, clock, randomness, purity, 'no-wildcard-reexport': wildcards } satisfies Record<string, Rule>,
}

export default plugin
