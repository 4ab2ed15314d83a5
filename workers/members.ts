/** Piscina entry of the threads that read members of data files ahead. */
import { type MemberTask, type ReadMember, readSlice } from '../src/store/member-source.ts';

export default (task: MemberTask): ReadMember[] => readSlice(task);
