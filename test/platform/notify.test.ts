import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { notifySystemd, unixAddress } from '../../src/platform/notify.ts';
import { DatagramSocket } from '../support/datagram-socket.ts';
import { HAS_FFI } from '../support/ffi.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'notify-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

describe.runIf(HAS_FFI)('notifySystemd', () => {
  test('sends one datagram to the socket', () => {
    const file = path.join(dir, 'notify');
    using socket = new DatagramSocket(file);
    expect(notifySystemd('READY=1\nSTATUS=x', file)).toBe(true);
    expect(socket.receive()).toBe('READY=1\nSTATUS=x');
    expect(notifySystemd('STOPPING=1', file)).toBe(true);
    expect(socket.receive()).toBe('STOPPING=1');
  });

  test('knows abstract names', () => {
    const name = `@csync-backup-test-${process.pid}`;
    using socket = new DatagramSocket(name);
    expect(notifySystemd('READY=1', name)).toBe(true);
    expect(socket.receive()).toBe('READY=1');
  });

  test('does nothing where nobody listens or nobody asked', () => {
    expect(notifySystemd('READY=1', path.join(dir, 'nobody'))).toBe(false);
    expect(notifySystemd('READY=1', undefined)).toBe(false);
    expect(notifySystemd('READY=1', 'relative')).toBe(false);
    expect(notifySystemd('READY=1', `/${'x'.repeat(107)}`)).toBe(false);
  });

  test('addresses as unix(7) has them', () => {
    expect(unixAddress('/a')).toEqual(Buffer.from([1, 0, 0x2f, 0x61, 0]));
    expect(unixAddress('@a')).toEqual(Buffer.from([1, 0, 0, 0x61]));
    expect(unixAddress('')).toBeUndefined();
    expect(unixAddress(`/${'x'.repeat(106)}`)).toHaveLength(110);
  });
});
