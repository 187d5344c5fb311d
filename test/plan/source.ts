import { event, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import type { Project } from '../../features/plan/compile.ts'
import type { Problem, SourcePlan } from '../../features/plan/plan.ts'

/** Every field type, required and optional. */
export const everyField = event('every', {
  topic: 'every',
  id: 'id',
  time: 'at',
  key: 'id',
  lateness: '1d',
  fields: {
    id: t.string(),
    at: t.timestamp(),
    s: t.optional(t.string()),
    b: t.optional(t.boolean()),
    i: t.optional(t.int()),
    l: t.optional(t.int64()),
    d: t.optional(t.double()),
    m: t.optional(t.decimal(2)),
    z: t.optional(t.decimal(0)),
    n: t.optional(t.decimal(9)),
    w: t.optional(t.timestamp()),
    v: t.optional(t.vector(3)),
    rs: t.string(),
    ri: t.int(),
    rd: t.double(),
    rb: t.boolean(),
  },
})

/** Compiles the exports of one module named `m.ts`. */
export function compileModule(exports: Readonly<Record<string, unknown>>): ReturnType<typeof compileProject> {
  return compileProject({ definitions: [{ file: 'm.ts', exports }], bundleHashes: { 'm.ts': 'c0de'.repeat(16) } })
}

/** The project of one module that has no problems. */
export function projectOf(exports: Readonly<Record<string, unknown>>): Project {
  const compiled = compileModule(exports)
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems, null, 2))
  return compiled.project
}

/** The problems of one module. */
export function problemsOf(exports: Readonly<Record<string, unknown>>): readonly Problem[] {
  const compiled = compileModule(exports)
  return compiled.ok ? [] : compiled.problems
}

/** The plan of one event. */
export function sourceOf(definition: unknown): SourcePlan {
  const source = projectOf({ definition }).plan.sources[0]
  if (source === undefined) throw new Error('the definition is no event')
  return source
}
