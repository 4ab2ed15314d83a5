import { describe, expect, test } from 'vitest';
import { inheritedSockets } from '../../src/server/listeners.ts';

describe('inheritedSockets', () => {
  test('takes what systemd hands to this process', () => {
    const env = { LISTEN_PID: '42', LISTEN_FDS: '3', LISTEN_FDNAMES: 'csync:csync-tls:other' };
    expect(inheritedSockets(env, 42)).toEqual([
      { fd: 3, tls: false },
      { fd: 4, tls: true },
      { fd: 5, tls: false },
    ]);
  });

  test('and nothing that is meant for another, or is no number', () => {
    expect(inheritedSockets({}, 42)).toEqual([]);
    expect(inheritedSockets({ LISTEN_PID: '41', LISTEN_FDS: '1' }, 42)).toEqual([]);
    for (const LISTEN_FDS of ['0', '-1', 'x', '1.5', ''])
      expect(inheritedSockets({ LISTEN_PID: '42', LISTEN_FDS }, 42)).toEqual([]);
  });
});
