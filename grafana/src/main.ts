/** `npm run grafana`: writes rules, dashboards and the list of alerts in docs/metrics.md. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { outputs, ROOT } from './outputs.ts';

for (const [file, text] of outputs()) {
  const target = path.join(ROOT, file);
  mkdirSync(path.dirname(target), { recursive: true });
  writeFileSync(target, text);
  process.stdout.write(`${file}\n`);
}
