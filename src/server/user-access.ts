/** Whether a user's backup may be worked on now. Asked at the beginning of each command. */
export interface UserAccess {
  /** Why clients may not use this backup now; undefined: they may. */
  refusal(userid: string): string | undefined;
  /** Maintenance of our own that has this backup gives it up; undefined if none has. */
  makeRoom(userid: string): Promise<void> | undefined;
  /** A client has given up this backup, and nothing that it asked for was refused. */
  served(userid: string): void;
}

/** Nothing is in the way of anybody. */
export const FREE_ACCESS: UserAccess = {
  refusal: () => undefined,
  makeRoom: () => undefined,
  served: () => {},
};
