/** Loaded before everything else (`--import`), in each thread: changes one source file as it is read, see plants.ts. */
import { registerHooks } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { PLANTS } from './plants.ts';

const SHARE = 1 / 3;

const name = process.env.CSYNC_BENCH_PLANT ?? '';
const plant = PLANTS[name];
if (plant === undefined) throw new Error(`CSYNC_BENCH_PLANT: there is no ${name}`);
const url = pathToFileURL(path.join(import.meta.dirname, '..', '..', plant.file)).href;
const clocks = pathToFileURL(path.join(import.meta.dirname, 'clocks.ts')).href;

/** Takes as long again as a share of what the call took, by CPU time of the thread or the process. */
const PRELUDE = `import { NOW } from '${clocks}';
const burn = (now, begin) => { for (const end = now() + ${SHARE} * (now() - begin); now() < end; ); };
const SLOWER = (call) => {
  const begin = NOW.thread();
  try { return call(); } finally { burn(NOW.thread, begin); }
};
const SLOWER_ASYNC = async (call) => {
  const begin = NOW.process();
  try { return await call(); } finally { burn(NOW.process, begin); }
};
`.replaceAll('\n', ' ');

registerHooks({
  load(loaded, context, nextLoad) {
    const result = nextLoad(loaded, context);
    if (loaded !== url) return result;
    const source = String(result.source);
    if (source.split(plant.from).length !== 2) {
      throw new Error(`${plant.file} does not hold once what the plant ${name} replaces: ${plant.from}`);
    }
    // The first line of a module may be a comment; imports may stand anywhere.
    return { ...result, source: `${PRELUDE}${source.replace(plant.from, () => plant.to)}` };
  },
});
