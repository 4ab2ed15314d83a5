/**
 * Under `npx` and `npm start` the program is the child of a shell that npm made. A signal to npm ends that
 * shell and never reaches the program, which would go on with nobody to stop it.
 */

const INTERVAL_MS = 500;

/** Calls back once when npm's shell is gone. Does nothing if npm did not start this process. */
export function onParentGone(callback: () => void): void {
  if (process.env.npm_execpath === undefined) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    callback();
  }, INTERVAL_MS);
  timer.unref();
}
