/** What a server of bare-server.ts does, each with what is before it. */
export const KINDS = ['answer', 'threads', 'sync', 'index'] as const;
export type Kind = (typeof KINDS)[number];
