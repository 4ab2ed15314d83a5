/** A drill as the maintenance process of the server does it: on one backup. Loaded there by the server's word. */
import fs from 'node:fs';
import { emptyResult } from '../../maintenance/job.ts';
import { registerJob } from '../../maintenance/run-job.ts';
import { drillBackup } from './drill.ts';
import { DrillRandom, newSeed } from './random.ts';

registerJob('drill', async ({ path: dataPath, userid, config }) => {
  // Removed or moved since the run began; what goes wrong with one that is there is a failure.
  if (!fs.existsSync(dataPath)) return emptyResult('gone');
  const remarks: string[] = [];
  const { messages, failures } = await drillBackup({
    dataPath,
    userid,
    config,
    sample: { messages: config.drillMessages },
    random: new DrillRandom(newSeed()),
    scratchBase: config.backupStagingPath,
    remark: (text) => remarks.push(text),
  });
  const [first] = failures;
  if (first === undefined) {
    const remark = remarks.length === 0 ? undefined : { code: 'REMARK', text: remarks.join('; ') };
    return { ...emptyResult(messages === 0 ? 'unneeded' : 'ok', remark), compared: messages };
  }
  const { uid, mboxname } = first.record ?? {};
  const what = uid === undefined ? '' : `message ${uid} of ${mboxname}: `;
  const codes: Record<string, number> = {};
  for (const { kind } of failures) codes[kind] = (codes[kind] ?? 0) + 1;
  return {
    ...emptyResult('faulty', { code: first.kind, text: what + first.text }),
    compared: messages,
    faults: failures.length,
    codes,
  };
});
