import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { loadProject } from '../../topology/runtime/project.ts'
import { ROOT, temporaryFolder } from '../system/headwater.ts'

const folder = temporaryFolder()
afterAll(() => folder.remove())

const LANGUAGE = join(ROOT, 'features', 'define', 'index.ts')
const LIMIT = `/** What counts as much. */\nexport const MUCH = 1000\nexport const UNUSED = 1\n`
const DEFINITIONS = `import { derived, entity, event, group, policy, service, t } from '${LANGUAGE}'
import { MUCH } from './limits.ts'

export const payment = event('payment', {
  topic: 'payments', id: 'id', time: 'at', key: 'card', lateness: '1d',
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), amount: t.decimal(2) },
})
export const card = entity('card', { key: 'card' })
export const activity = group('activity', { entity: card, source: payment }, e => ({ n: e.count('1h') }))
export const check = service('check', {
  request: payment,
  groups: [activity],
  derived: { much: derived({ request: payment }, v => v.request.amount > MUCH) },
  policy: policy('p', { outcomes: ['yes', 'no'], rules: [{ name: 'r', when: v => v.derived.much === true, outcome: 'no' }], fallback: 'yes' }),
})
`

let folders = 0

/** Writes a project of its own, because a module that was loaded once is never read again. */
function write(files: Readonly<Record<string, string>>): (name: string) => string {
  const path = join(folder.path, `project-${++folders}`)
  mkdirSync(path)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
  return name => join(path, name)
}

async function hashes(files: Readonly<Record<string, string>>) {
  const at = write(files)
  const loaded = await loadProject([at('index.ts')])
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems))
  const [service] = loaded.project.plan.services
  const [feature] = loaded.project.plan.groups.flatMap(each => each.features)
  return {
    plan: loaded.project.plan.hash,
    bundle: service?.bundleHash,
    definition: service?.definitionHash,
    state: feature?.stateHash,
  }
}

describe('loading definitions', () => {
  const project = { 'index.ts': DEFINITIONS, 'limits.ts': LIMIT }

  it('hashes the same for the same text in another folder', async () => {
    expect(await hashes(project)).toEqual(await hashes(project))
  })

  it('makes another version of the service when a constant in another file changes', async () => {
    const before = await hashes(project)
    const after = await hashes({ ...project, 'limits.ts': LIMIT.replace('1000', '1001') })
    expect(after.bundle).not.toBe(before.bundle)
    expect(after.definition).not.toBe(before.definition)
    expect(after.plan).not.toBe(before.plan)
    expect(after.state).toBe(before.state)
  })

  it.each([
    [
      'comments',
      (text: string) => `// about this file\n/* and\n more */\n${text.replace('What counts', 'All that counts')}`,
    ],
    ['white space', (text: string) => text.replaceAll('\n', '\n\n').replaceAll(', ', ',   ')],
    ['a constant that is not used', (text: string) => text.replace('UNUSED = 1', 'UNUSED = 2')],
  ])('stays the same with other %s', async (_what, change) => {
    const changed = { 'index.ts': change(DEFINITIONS), 'limits.ts': change(LIMIT) }
    expect(await hashes(changed)).toEqual(await hashes(project))
  })

  it('reports all problems of all files at once', async () => {
    const at = write({
      'syntax.ts': 'export const = 1\n',
      'throws.ts': "throw new Error('not today')\n",
      'absent-import.ts': "import { x } from './nowhere.ts'\nexport const y = x\n",
      'wrong.ts': `import { event, t } from '${LANGUAGE}'
export const a = event('a', { topic: 'a', id: 'nope', time: 'at', lateness: '1d', fields: { id: t.string(), at: t.timestamp() } })
export const b = event('b', { topic: 'b', id: 'id', time: 'at', lateness: 'soon' as '1d', fields: { id: t.string(), at: t.timestamp() } })
`,
      'good.ts': DEFINITIONS.replace("import { MUCH } from './limits.ts'", 'const MUCH = 1'),
    })
    const files = ['syntax.ts', 'throws.ts', 'absent-import.ts', 'missing.ts', 'wrong.ts', 'good.ts'].map(at)
    const loaded = await loadProject(files)
    if (loaded.ok) throw new Error('loaded')
    const of = (name: string) => loaded.problems.filter(problem => problem.file === at(name))
    expect(of('syntax.ts')).toMatchObject([{ code: 'HW0002' }])
    expect(of('throws.ts')).toMatchObject([{ code: 'HW0002', message: expect.stringContaining('not today') as string }])
    expect(of('absent-import.ts')).toMatchObject([
      { code: 'HW0002', message: expect.stringContaining('nowhere.ts') as string },
    ])
    expect(of('missing.ts')).toMatchObject([{ code: 'HW0001', message: 'there is no such file' }])
    expect(of('wrong.ts').map(problem => problem.where)).toEqual(['event a', 'event b'])
    expect(of('good.ts')).toEqual([])
    for (const problem of loaded.problems) expect(problem.remedy, problem.code).not.toBe('')
  })

  it('says so when a module exports no definition', async () => {
    const at = write({ 'empty.ts': 'export const one = 1\n' })
    const loaded = await loadProject([at('empty.ts')])
    expect(loaded).toMatchObject({ ok: false, problems: [{ code: 'HW0003', file: at('empty.ts') }] })
  })
})
