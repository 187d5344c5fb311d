import { describe, expect, it } from 'vitest'
import { addressText, parseAddress } from '../../topology/adapters/online-store/redis/connection.ts'

describe('an address of Redis', () => {
  it.each([
    ['redis-1:6380', 'redis-1', 6380],
    ['redis-1', 'redis-1', 6379],
    ['[::1]:6380', '::1', 6380],
    ['fe80::1:6380', 'fe80::1', 6380],
  ])('%s is a host and a port', (text, host, port) => {
    const address = parseAddress(text)
    expect(address).toEqual({ host, port })
    expect(parseAddress(addressText(address))).toEqual(address)
  })

  it.each(['redis://:hidden@redis-1:6379', 'rediss://me:hidden@redis-1', 'hidden@redis-1:6379'])(
    '%s is refused without being shown, for it may hold a password',
    text => {
      expect(() => parseAddress(text)).toThrow(/takes host:port.*set onlineStore\.username, onlineStore\.password/)
      expect(() => parseAddress(text)).not.toThrow(/hidden/)
    },
  )

  it.each(['', ':6379', 'redis-1:0', 'redis-1:99999'])('"%s" is none', text => {
    expect(() => parseAddress(text)).toThrow(/is not host:port/)
  })
})
