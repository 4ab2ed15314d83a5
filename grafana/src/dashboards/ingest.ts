/** How mail comes in, stage by stage: which of them is it that clients wait for? */
import { NO_LOGINS, quantile, quantiles, rate } from './expressions.ts';
import { HERE, page } from './page.ts';
import { graph } from './panel.ts';

export const ingest = () =>
  page({
    uid: 'csync-backup-ingest',
    title: 'csync-backup: ingest',
    description:
      'How mail comes in to one server, in the order in which it does: clients, commands, data, threads, memory. The first stage that is at its limit is the one to work on.',
    from: 'now-3h',
    refresh: '30s',
    isOfMany: false,
    rows: [
      {
        title: 'Clients',
        panels: [
          graph({
            title: 'Connections by what they do',
            description:
              'idle: a rolling client waits for work. receiving: the network. waiting: for memory, see back-pressure below. busy: the store. Many of one kind for long show where clients wait.',
            unit: 'short',
            decimals: 0,
            yellow: 12_000,
            red: 16_000,
            width: 8,
            isStacked: true,
            queries: [{ expr: `csync_backup_sessions{${HERE}}`, legend: '{{state}}' }],
          }),
          graph({
            title: 'New connections',
            description:
              'Connections accepted a second, and those turned away. Hundreds a second: a client that comes back in a loop; the log names it. full: raise backup_max_connections.',
            unit: 'cps',
            yellow: 100,
            red: 500,
            width: 8,
            queries: [
              { expr: `sum(${rate('connections_total')})`, legend: 'accepted' },
              {
                expr: `sum by (reason) (${rate('connections_refused_total')})`,
                legend: 'refused: {{reason}}',
              },
            ],
          }),
          graph({
            title: 'Logins',
            description:
              'AUTHENTICATE commands by mechanism and result. Failures: a wrong sync_password, or somebody who guesses; the log names the client.',
            unit: 'ops',
            yellow: 100,
            red: 500,
            width: 8,
            queries: [
              {
                expr: `sum by (mechanism, result) (${rate('logins_total')}) > 0`,
                legend: '{{mechanism}} {{result}}',
              },
            ],
          }),
        ],
      },
      {
        title: 'Commands',
        panels: [
          graph({
            title: 'Commands',
            description:
              'Commands answered a second, by verb. APPLY MESSAGE and APPLY MAILBOX are work, GET are looks. Looks alone, without end: a client that finds something different each time; search the log for "refused".',
            unit: 'ops',
            width: 12,
            isStacked: true,
            queries: [{ expr: `sum by (verb) (${rate('commands_total')}) > 0`, legend: '{{verb}}' }],
          }),
          graph({
            title: 'Not OK',
            description:
              'Commands answered otherwise, by the word behind NO. IMAP_MAILBOX_NONEXISTENT and IMAP_SYNC_CHECKSUM belong to syncs that go well; for the others search the log for "refused".',
            unit: 'ops',
            yellow: 0.1,
            red: 1,
            width: 12,
            queries: [
              {
                expr: `sum by (result) (rate(csync_backup_commands_total{${HERE},result!~"OK|none"}[$__rate_interval])) > 0`,
                legend: '{{result}}',
              },
            ],
          }),
          graph({
            title: 'Time to the answer',
            description:
              'From the last byte of a command to its answer, but for logins. What is acknowledged has been synced to disk: compare with the time of syncs in the dashboard of the store. Slower than the disk: threads or memory, below.',
            unit: 's',
            yellow: 0.1,
            red: 1,
            width: 8,
            queries: quantiles('ack_seconds', NO_LOGINS),
          }),
          graph({
            title: '99 % of the answers, by verb',
            description:
              'Which command is slow. RESTART and APPLY wait for the disk; GET reads indexes; AUTHENTICATE is made to wait where it fails. Another one: report it.',
            unit: 's',
            yellow: 0.1,
            red: 1,
            width: 8,
            queries: [{ expr: quantile(0.99, 'ack_seconds', { by: 'verb' }), legend: '{{verb}}' }],
          }),
          graph({
            title: 'Time of a sync',
            description:
              'From the first command to RESTART or EXIT, what the client thinks in between included. Long with quick answers: the mail server or the network is slow, not this one.',
            unit: 's',
            yellow: 60,
            red: 600,
            width: 8,
            queries: quantiles('sync_seconds'),
          }),
        ],
      },
      {
        title: 'Data',
        panels: [
          graph({
            title: 'Bytes',
            description:
              'Received from clients (uncompressed), of which messages; and what came to be written to data files. Written far above received: small chunks, so more syncs than mail.',
            unit: 'Bps',
            width: 6,
            queries: [
              { expr: rate('received_bytes_total'), legend: 'received' },
              { expr: rate('message_bytes_received_total'), legend: 'of messages' },
              { expr: rate('store_written_bytes_total'), legend: 'written' },
              { expr: rate('sent_bytes_total'), legend: 'answered' },
            ],
          }),
          graph({
            title: 'Messages',
            description:
              'Messages received whole a second; put aside as their owner was not known yet; given to a user from elsewhere in the session; refused for a wrong SHA-1 (damaged memory, disk or network of the mail server: look there).',
            unit: 'ops',
            width: 6,
            queries: [
              { expr: rate('messages_received_total'), legend: 'received' },
              { expr: rate('messages_staged_total'), legend: 'put aside' },
              { expr: rate('messages_supplied_total'), legend: 'supplied' },
              { expr: rate('guid_mismatches_total'), legend: 'wrong SHA-1' },
            ],
          }),
          graph({
            title: 'Compressed to',
            description:
              'Size of what the deflate pool made, of what it was given. Usual mail comes to 40 to 75 %. 100 %: content that is encrypted or compressed already; it costs CPU time for nothing.',
            unit: 'percentunit',
            yellow: 0.95,
            red: 1.05,
            width: 6,
            queries: [
              {
                expr: `${rate('deflated_bytes_total')} / (${rate('deflated_raw_bytes_total')} > 0)`,
                legend: 'of the size before',
              },
            ],
          }),
          graph({
            title: 'Compressing a slab',
            description:
              'CPU time that the deflate pool takes for up to 1 MiB. Some 10 ms with isa-l or libdeflate, 50 ms with zlib: install libisal2 and libdeflate0, or let backup_workers be as many as there are processors.',
            unit: 's',
            yellow: 0.1,
            red: 0.5,
            width: 6,
            queries: quantiles('deflate_seconds'),
          }),
        ],
      },
      {
        title: 'Threads',
        panels: [
          graph({
            title: 'Threads at work',
            description:
              'The share of time that each thread works. main at 100 %: no more goes through this machine. store: raise backup_shards. deflate: raise backup_workers, if there are processors for it.',
            unit: 'percentunit',
            yellow: 0.7,
            red: 0.9,
            width: 8,
            queries: [{ expr: rate('thread_active_seconds_total'), legend: '{{thread}}' }],
          }),
          graph({
            title: 'Delay of the event loops',
            description:
              'How long 99 % of what becomes due in a thread waits at most. Above 100 ms the machine is short of processors or swaps; main holds up all clients.',
            unit: 's',
            yellow: 0.1,
            red: 0.5,
            width: 8,
            queries: [
              {
                expr: quantile(0.99, 'event_loop_delay_seconds', { by: 'thread' }),
                legend: '{{thread}}',
              },
            ],
          }),
          graph({
            title: 'Requests under way',
            description:
              'Requests that pools of threads have not answered yet. It grows and does not go back: that pool is the narrow place; see threads at work, and the disk for store.',
            unit: 'short',
            decimals: 0,
            yellow: 100,
            red: 1000,
            width: 8,
            queries: [{ expr: `csync_backup_queue_depth{${HERE}}`, legend: '{{pool}}' }],
          }),
          graph({
            title: 'Waiting for a thread',
            description:
              'In how much time 99 % of the requests are taken up by a store thread, and of the slabs by a deflate thread. From 100 ms on more threads help, if processors are idle. A client that pushes large messages has up to half of all slabs wait, one behind the other, while others take turns with it: its own wait is no fault.',
            unit: 's',
            yellow: 0.1,
            red: 1,
            width: 8,
            queries: [
              { expr: quantile(0.99, 'store_request_wait_seconds'), legend: 'store' },
              { expr: quantile(0.99, 'deflate_wait_seconds'), legend: 'deflate' },
            ],
          }),
          graph({
            title: 'Processors used',
            description:
              'CPU time a second by thread: 1 is one processor. Altogether as many as the machine has: it is at its limit; see the dashboard of capacity.',
            unit: 'short',
            width: 8,
            isStacked: true,
            queries: [{ expr: rate('thread_cpu_seconds_total'), legend: '{{thread}}' }],
          }),
          graph({
            title: 'Garbage collection',
            description:
              'The share of time that threads stand still for it. Above 5 % memory is too small: raise backup_memory_limit, or report it.',
            unit: 'percentunit',
            yellow: 0.05,
            red: 0.2,
            width: 8,
            queries: [{ expr: `sum by (thread) (${rate('gc_seconds_sum')})`, legend: '{{thread}}' }],
          }),
        ],
      },
      {
        title: 'Memory',
        panels: [
          graph({
            title: 'Slabs',
            description:
              'Pieces of 1 MiB that hold what clients send. All in use and connections waiting: raise backup_memory_limit, or look for the slow disk.',
            unit: 'short',
            decimals: 0,
            width: 8,
            isStacked: true,
            queries: [
              { expr: `csync_backup_slabs{${HERE}} - csync_backup_slabs_free{${HERE}}`, legend: 'in use' },
              { expr: `csync_backup_slabs_free{${HERE}}`, legend: 'free' },
            ],
          }),
          graph({
            title: 'Back-pressure',
            description:
              'Connections that wait for memory, on average over time and right now. More than one for long: raise backup_memory_limit; with a slow disk it only moves the wait.',
            unit: 'short',
            yellow: 1,
            red: 10,
            width: 8,
            queries: [
              { expr: rate('back_pressure_seconds_total'), legend: 'on average' },
              { expr: `csync_backup_slab_waiters{${HERE}}`, legend: 'now' },
            ],
          }),
          graph({
            title: 'Memory',
            description:
              'Of the whole process, and what V8 has in use in all threads. It levels off near backup_memory_limit; if it grows for days, report it.',
            unit: 'bytes',
            yellow: 1 << 30,
            red: 2 * (1 << 30),
            width: 8,
            queries: [
              { expr: `csync_backup_resident_memory_bytes{${HERE}}`, legend: 'process' },
              { expr: `sum by (area) (csync_backup_heap_bytes{${HERE}})`, legend: 'V8: {{area}}' },
              { expr: `csync_backup_client_memory_bytes{${HERE}}`, legend: 'clients: {{kind}}' },
            ],
          }),
        ],
      },
    ],
  });
