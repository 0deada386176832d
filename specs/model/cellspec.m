-- The run of a pipeline, in Murphi, written by hand from the clauses and from the section "What is
-- counted" of ../exploration.md, and from nothing else. It shares no line with the Python that it
-- is compared with: the same states, the same transitions, the same shortest ways to go wrong.
--
-- A configuration comes before this text. It gives the constants
--   COLUMNS, ROWS, BATCH (rows of a batch; ROWS if there are none),
--   ADMITS (whether rows are admitted in groups), GROUP_ROWS (rows of a group; ROWS if there are none),
--   GROUPS (how many may be admitted at once; 0 for no limit), SUBSETS (how many sets of groups there are),
--   CRASHES, RETRIES, DROPS, STOPS, LOSSES (how many of each), TORN (whether writes may be torn),
--   WORKERS (0 for no limit), CLAIM_ROWS, CLAIM_COLUMNS, CLAIM_CELLS (versions 1, 2 and 3),
--   BROKEN (0, or the number of a mistake)
-- and the functions kind(column), ordered(column) and needs(column, other).

const
  ROW_COLUMN: 0;
  DATASET_BARRIER: 1;
  BATCH_BARRIER: 2;
  BATCHES: (ROWS + BATCH - 1) / BATCH;
  LAST_GROUP: (ROWS - 1) / GROUP_ROWS;

  -- Mistakes that a checker must find. What each one is stands where it is read.
  RestoresEveryBarrier: 1;
  WaitsForTheNodeOnly: 2;
  BarrierAfterBarrierNode: 3;
  StartBarrierGivesCells: 4;
  StartNodesFirst: 5;
  ForgetsClaimsOfRows: 6;
  RestoresNoBarrier: 7;
  RestoresOneRowMore: 8;
  LosesBarriersAfterResume: 9;
  KeepsCallsOfTheDead: 10;
  ReplacesTheClaimInPlace: 11;
  ResumesFromTheOneBefore: 12;
  ClaimsTheFurthestColumn: 13;
  ClaimsWithGaps: 14;
  StartsTwice: 15;
  UsesOneWorkerMore: 16;
  IgnoresOrder: 17;
  BarrierByLastRow: 18;
  ShortBatchNeverStarts: 19;
  RunsBarriersOverNothing: 20;
  DropHoldsBarriers: 21;
  DropsTheNextRow: 22;
  ForgetsDrops: 23;
  ReportsSuccessEarly: 24;
  FillsTheGap: 25;
  ForgetsTheSet: 26;
  ClaimsOutOfOrder: 27;
  StartsAfterTheRequest: 28;
  EndsBeforeTheClaim: 29;
  EndsUnasked: 30;
  WaitsForTheWholeTable: 31;
  LosesWhatIsClaimed: 32;
  LosesWhatWasMadeFromIt: 33;
  KeepsTheOutput: 34;
  StartsBeforeAdmission: 35;
  AdmitsOneGroupMore: 36;
  AdmitsInAnyOrder: 37;
  ForgetsTheRestOfTheBatch: 38;

type
  Column: 0 .. COLUMNS - 1;
  Row: 0 .. ROWS - 1;
  Scope: 0 .. BATCHES - 1;
  Group: 0 .. LAST_GROUP;
  -- A set of groups: the bits of a number.
  GroupSet: 0 .. SUBSETS - 1;
  Count: 0 .. ROWS;
  Cells: array [Column] of array [Row] of boolean;
  Nodes: array [Column] of array [Scope] of boolean;

var
  cell_done: array [Column] of array [Row] of boolean;
  cell_flight: array [Column] of array [Row] of boolean;
  node_done: array [Column] of array [Scope] of boolean;
  node_flight: array [Column] of array [Scope] of boolean;
  dropped: array [Row] of boolean;
  admitted: array [Group] of boolean;
  durable: array [Column] of array [Row] of boolean;
  writing: boolean;
  pending: array [Column] of array [Row] of boolean;
  durable_drops: array [Row] of boolean;
  pending_drops: array [Row] of boolean;
  crashes: 0 .. CRASHES;
  retries: 0 .. RETRIES;
  drops: 0 .. DROPS;
  stops: 0 .. STOPS;
  stopping: boolean;
  losses: 0 .. LOSSES;

-- Scopes

function is_barrier(c: Column): boolean;
begin
  return kind(c) != ROW_COLUMN;
end;

function scope_of(c: Column; r: Row): Scope;
begin
  if kind(c) = BATCH_BARRIER then
    return r / BATCH;
  end;
  return 0;
end;

function has_scope(c: Column; s: Scope): boolean;
begin
  return is_barrier(c) & (s = 0 | kind(c) = BATCH_BARRIER);
end;

function in_scope(c: Column; s: Scope; r: Row): boolean;
begin
  return has_scope(c, s) & scope_of(c, r) = s;
end;

-- What a node waits for

function needs_anything(c: Column): boolean;
begin
  return exists d: Column do needs(c, d) end;
end;

function row_is_admitted(r: Row): boolean;
begin
  return admitted[r / GROUP_ROWS];
end;

function scope_is_admitted(c: Column; s: Scope): boolean;
begin
  return forall r: Row do in_scope(c, s, r) -> row_is_admitted(r) end;
end;

function cell_may_start(c: Column; r: Row): boolean;
var here: boolean;
begin
  if !row_is_admitted(r) & BROKEN != StartsBeforeAdmission then
    return false;
  end;
  if is_barrier(c) then
    return node_done[c][scope_of(c, r)]
      | (BROKEN = StartBarrierGivesCells & !needs_anything(c));
  end;
  if BROKEN = StartNodesFirst & c = 1 then
    return true;
  end;
  for d: Column do
    if needs(c, d) then
      here := cell_done[d][r];
      if BROKEN = WaitsForTheNodeOnly & is_barrier(d) then
        here := node_done[d][scope_of(d, r)];
      end;
      if !here then
        return false;
      end;
    end;
  end;
  return !ordered(c) | BROKEN = IgnoresOrder
    | forall earlier: Row do earlier < r -> cell_done[c][earlier] end;
end;

function last_of_scope(c: Column; s: Scope; r: Row): boolean;
begin
  return r = ROWS - 1 | scope_of(c, r + 1) != s;
end;

function scope_is_short(c: Column; s: Scope): boolean;
begin
  return kind(c) = BATCH_BARRIER & (s + 1) * BATCH > ROWS;
end;

function node_may_start(c: Column; s: Scope): boolean;
var here: boolean;
begin
  if !scope_is_admitted(c, s) & BROKEN != StartsBeforeAdmission then
    return false;
  end;
  if BROKEN = ShortBatchNeverStarts & scope_is_short(c, s) then
    return false;
  end;
  for r: Row do
    if in_scope(c, s, r) then
      if BROKEN = LosesBarriersAfterResume & cell_done[c][r] then
        return false;
      end;
      for d: Column do
        if needs(c, d) & (BROKEN != BarrierByLastRow | last_of_scope(c, s, r)) then
          here := cell_done[d][r];
          if BROKEN = BarrierAfterBarrierNode & is_barrier(d) then
            here := node_done[d][scope_of(d, r)];
          end;
          if !here then
            return false;
          end;
        end;
      end;
    end;
  end;
  return !ordered(c) | forall earlier: Scope do earlier < s -> node_done[c][earlier] end;
end;

function slots_taken(): 0 .. COLUMNS * (ROWS + BATCHES);
var taken: 0 .. COLUMNS * (ROWS + BATCHES);
begin
  taken := 0;
  for c: Column do
    for r: Row do
      if cell_flight[c][r] & !is_barrier(c) then
        taken := taken + 1;
      end;
    end;
    for s: Scope do
      if node_flight[c][s] then
        taken := taken + 1;
      end;
    end;
  end;
  return taken;
end;

function a_worker_is_free(): boolean;
begin
  return WORKERS = 0 | slots_taken() < WORKERS
    | (BROKEN = UsesOneWorkerMore & slots_taken() = WORKERS);
end;

function has_inputs(c: Column; r: Row): boolean;
begin
  return forall d: Column do needs(c, d) -> cell_done[d][r] end;
end;

-- After a stop was requested no call starts; an output cell takes none.
function calls_may_start(): boolean;
begin
  return !stopping | BROKEN = StartsAfterTheRequest;
end;

-- A barrier that nobody wants any more is done with.

function is_unwanted(c: Column; s: Scope): boolean;
begin
  if !has_scope(c, s) | BROKEN = RunsBarriersOverNothing then
    return false;
  end;
  if node_done[c][s] | node_flight[c][s] then
    return false;
  end;
  for r: Row do
    if in_scope(c, s, r) & !cell_done[c][r] then
      return false;
    end;
  end;
  return node_may_start(c, s);
end;

procedure settle();
var again: boolean;
begin
  again := true;
  while again do
    again := false;
    for c: Column do
      for s: Scope do
        if is_unwanted(c, s) then
          node_done[c][s] := true;
          again := true;
        end;
      end;
    end;
  end;
end;

-- Row groups. One without an open cell has retired, and takes no place.

function group_is_open(g: Group): boolean;
begin
  return exists c: Column do exists r: Row do r / GROUP_ROWS = g & !cell_done[c][r] end end;
end;

function places_taken(): 0 .. ROWS;
var taken: 0 .. ROWS;
begin
  taken := 0;
  for g: Group do
    if admitted[g] & group_is_open(g) then
      taken := taken + 1;
    end;
  end;
  return taken;
end;

function a_place_is_free(): boolean;
begin
  return GROUPS = 0 | places_taken() < GROUPS
    | (BROKEN = AdmitsOneGroupMore & places_taken() = GROUPS);
end;

function set_with(g: Group): 1 .. SUBSETS;
var number: 1 .. SUBSETS;
begin
  number := 1;
  for other: Group do
    if other < g then
      number := number * 2;
    end;
  end;
  return number;
end;

function is_in(set: GroupSet; g: Group): boolean;
begin
  return set / set_with(g) % 2 = 1;
end;

-- What is done when all work ends that some admitted groups allow, whatever else is admitted.
procedure work(var done: Cells; var nodes: Nodes; set: GroupSet);
var again: boolean; may: boolean;
begin
  again := true;
  while again do
    again := false;
    for c: Column do
      for s: Scope do
        may := has_scope(c, s) & !nodes[c][s]
          & (!ordered(c) | forall earlier: Scope do earlier < s -> nodes[c][earlier] end);
        for r: Row do
          may := may & (!in_scope(c, s, r)
            | (is_in(set, r / GROUP_ROWS) & forall d: Column do needs(c, d) -> done[d][r] end));
        end;
        if may then
          nodes[c][s] := true;
          again := true;
        end;
      end;
      for r: Row do
        may := is_in(set, r / GROUP_ROWS) & !done[c][r];
        if is_barrier(c) then
          may := may & nodes[c][scope_of(c, r)];
        else
          may := may & (forall d: Column do needs(c, d) -> done[d][r] end)
            & (!ordered(c) | forall earlier: Row do earlier < r -> done[c][earlier] end);
        end;
        if may then
          done[c][r] := true;
          again := true;
        end;
      end;
    end;
  end;
end;

-- Clause GROUP-08 as it stands: of each set of groups, the largest first, whether some order in which
-- the others are admitted ends the run.
function some_order_ends(group: Group): boolean;
var
  ends: array [GroupSet] of boolean;
  done: Cells; nodes: Nodes;
  set: GroupSet; now: GroupSet; taken: 0 .. ROWS;
begin
  now := set_with(group);
  for g: Group do
    if admitted[g] & g != group then
      now := now + set_with(g);
    end;
  end;
  for place: GroupSet do
    set := SUBSETS - 1 - place;
    for c: Column do
      for r: Row do
        done[c][r] := cell_done[c][r] | cell_flight[c][r];
      end;
      for s: Scope do
        nodes[c][s] := node_done[c][s] | node_flight[c][s] | BROKEN = ForgetsTheRestOfTheBatch;
      end;
    end;
    work(done, nodes, set);
    taken := 0;
    for g: Group do
      if is_in(set, g) & (exists c: Column do exists r: Row do r / GROUP_ROWS = g & !done[c][r] end end) then
        taken := taken + 1;
      end;
    end;
    ends[set] := forall c: Column do forall r: Row do done[c][r] end end;
    for g: Group do
      if taken < GROUPS & !is_in(set, g) then
        ends[set] := ends[set] | ends[set + set_with(g)];
      end;
    end;
  end;
  return ends[now];
end;

function leads_on(g: Group): boolean;
begin
  return GROUPS = 0 | BROKEN = AdmitsInAnyOrder | some_order_ends(g);
end;

-- Claims

-- Output that was given stays when its barrier is lost, and counts: only a loss leaves it without one.
function cell_counts(c: Column; r: Row): boolean;
begin
  return cell_done[c][r] & (LOSSES > 0 | !is_barrier(c) | node_done[c][scope_of(c, r)] | dropped[r]);
end;

function row_counts(r: Row): boolean;
var below: boolean;
begin
  -- What the last claim holds is held by every column's number, in version 1.
  below := true;
  for c: Column do
    if !durable[c][r] | BROKEN = ForgetsClaimsOfRows then
      below := false;
    end;
  end;
  if below | dropped[r] then
    return true;
  end;
  for c: Column do
    if !cell_counts(c, r) then
      return false;
    end;
  end;
  return true;
end;

function furthest_column(): Count;
var n: Count; rows: Count;
begin
  n := 0;
  for c: Column do
    rows := 0;
    for r: Row do
      if rows = r & cell_done[c][r] then
        rows := r + 1;
      end;
    end;
    if rows > n then
      n := rows;
    end;
  end;
  return n;
end;

function rows_to_claim(): Count;
var n: Count;
begin
  if BROKEN = ClaimsTheFurthestColumn then
    return furthest_column();
  end;
  n := 0;
  for r: Row do
    if n = r & row_counts(r) then
      n := r + 1;
    end;
  end;
  return n;
end;

function column_alone(c: Column): Count;
var n: Count;
begin
  n := 0;
  if BROKEN = ClaimsWithGaps then
    for r: Row do
      if cell_done[c][r] then
        n := n + 1;
      end;
    end;
    return n;
  end;
  for r: Row do
    if n = r & (durable[c][r] | cell_counts(c, r)) then
      n := r + 1;
    end;
  end;
  return n;
end;

-- What was made from a lost input waits for it: no column claims rows that its inputs do not. Columns
-- come after those that they need.
function column_to_claim(column: Column): Count;
var found: array [Column] of Count;
begin
  for c: Column do
    found[c] := column_alone(c);
    for d: Column do
      if LOSSES > 0 & d < c & needs(c, d) then
        if found[d] < found[c] then
          found[c] := found[d];
        end;
      end;
    end;
  end;
  return found[column];
end;

-- With both versions, version 1 claims the least of the columns' numbers.
function claim_of_rows(): Count;
var n: Count;
begin
  if !CLAIM_COLUMNS then
    return rows_to_claim();
  end;
  n := ROWS;
  for c: Column do
    if column_to_claim(c) < n then
      n := column_to_claim(c);
    end;
  end;
  return n;
end;

-- Of any cells: the largest set of resolved cells that is closed. A cell is in it with its inputs
-- in its row; of an ordered column with all rows before, of ordered batches with all batches before.
function must_be_claimed_first(c: Column; r: Row; d: Column; other: Row): boolean;
begin
  if d != c then
    return needs(c, d) & other = r;
  end;
  if !ordered(c) | other >= r then
    return false;
  end;
  return !is_barrier(c) | scope_of(c, other) < scope_of(c, r);
end;

function cell_to_claim(column: Column; row: Row): boolean;
var found: Cells; again: boolean; whole: boolean;
begin
  for c: Column do
    for r: Row do
      found[c][r] := (durable[c][r] & BROKEN != ForgetsTheSet) | cell_counts(c, r);
    end;
  end;
  again := true;
  while again do
    again := false;
    for c: Column do
      for r: Row do
        if found[c][r] & !durable[c][r] & BROKEN != ClaimsOutOfOrder then
          whole := true;
          for d: Column do
            for other: Row do
              if must_be_claimed_first(c, r, d, other) & !found[d][other] then
                whole := false;
              end;
            end;
          end;
          if !whole then
            found[c][r] := false;
            again := true;
          end;
        end;
      end;
    end;
  end;
  return found[column][row];
end;

function cells_grow(): boolean;
var more: boolean;
begin
  more := false;
  for c: Column do
    for r: Row do
      if durable[c][r] & !cell_to_claim(c, r) then
        return false;
      end;
      more := more | (cell_to_claim(c, r) & !durable[c][r]);
    end;
  end;
  return more;
end;

function rows_grow(): boolean;
var more: boolean;
begin
  more := false;
  for c: Column do
    for r: Row do
      if durable[c][r] & r >= claim_of_rows() then
        return false;
      end;
      more := more | (r < claim_of_rows() & !durable[c][r]);
    end;
  end;
  return more;
end;

function columns_grow(): boolean;
var more: boolean;
begin
  more := false;
  for c: Column do
    for r: Row do
      if durable[c][r] & r >= column_to_claim(c) then
        return false;
      end;
      more := more | (r < column_to_claim(c) & !durable[c][r]);
    end;
  end;
  return more;
end;

function columns_are_level(): boolean;
begin
  for c: Column do
    if column_to_claim(c) != column_to_claim(0) then
      return false;
    end;
  end;
  return true;
end;

function cells_are_columns(): boolean;
begin
  return forall c: Column do forall r: Row do
    cell_to_claim(c, r) = (r < column_to_claim(c))
  end end;
end;

function cells_are_rows(): boolean;
begin
  return forall c: Column do forall r: Row do
    cell_to_claim(c, r) = (r < claim_of_rows())
  end end;
end;

-- Claims are made while a crash or a stop may come that reads them.
function may_save(): boolean;
begin
  return crashes < CRASHES | stopping | stops < STOPS;
end;

function is_claimed_next(c: Column; r: Row): boolean;
begin
  if CLAIM_CELLS then
    return cell_to_claim(c, r);
  elsif CLAIM_COLUMNS then
    return r < column_to_claim(c);
  end;
  return r < claim_of_rows();
end;

function nothing_is_left_to_claim(): boolean;
begin
  return forall c: Column do forall r: Row do is_claimed_next(c, r) = durable[c][r] end end;
end;

function everything_is_claimed(): boolean;
begin
  return forall c: Column do forall r: Row do durable[c][r] end end;
end;

function nothing_runs(): boolean;
begin
  return forall c: Column do
    forall r: Row do !cell_flight[c][r] end & forall s: Scope do !node_flight[c][s] end
  end;
end;

function may_interrupt(): boolean;
begin
  if !stopping then
    return BROKEN = EndsUnasked & stops < STOPS & nothing_is_left_to_claim();
  elsif BROKEN = WaitsForTheWholeTable then
    return everything_is_claimed();
  end;
  return BROKEN = EndsBeforeTheClaim | nothing_is_left_to_claim();
end;

procedure forget_pending();
begin
  writing := false;
  for c: Column do
    for r: Row do
      pending[c][r] := false;
    end;
  end;
  for r: Row do
    pending_drops[r] := false;
  end;
end;

-- A claim of columns holds the drops that were recorded before it, of the rows that it reaches. Of a
-- claim of rows that is said by the rows alone: none of those that it reaches is dropped later.
procedure hold_drops();
begin
  for c: Column do
    for r: Row do
      if CLAIM_COLUMNS & pending[c][r] then
        pending_drops[r] := dropped[r];
      end;
    end;
  end;
end;

procedure make_durable();
begin
  for c: Column do
    durable[c] := pending[c];
  end;
  for r: Row do
    durable_drops[r] := pending_drops[r];
  end;
end;

function keeps_drop(r: Row): boolean;
begin
  if CLAIM_COLUMNS then
    return durable_drops[r];
  end;
  return dropped[r] & durable[0][r];
end;

-- A crash, and what the next process begins with. What storage gives back is in `durable`.

function first_open(c: Column): Count;
var n: Count;
begin
  n := 0;
  for r: Row do
    if n = r & durable[c][r] then
      n := r + 1;
    end;
  end;
  return n;
end;

function claimed_later(c: Column; r: Row): boolean;
begin
  return exists other: Row do other > r & durable[c][other] end;
end;

procedure resume();
var whole: boolean; kept: array [Row] of boolean;
begin
  stopping := false;
  for c: Column do
    for r: Row do
      cell_flight[c][r] := BROKEN = KeepsCallsOfTheDead & c = 0 & r = 0 & !durable[0][0];
      cell_done[c][r] := durable[c][r]
        | (BROKEN = RestoresOneRowMore & r = first_open(c) & r > 0)
        | (BROKEN = FillsTheGap & claimed_later(c, r));
    end;
    for s: Scope do
      node_flight[c][s] := false;
      whole := has_scope(c, s);
      for r: Row do
        if in_scope(c, s, r) then
          whole := whole & cell_done[c][r];
        end;
      end;
      node_done[c][s] := whole
        | (BROKEN = RestoresEveryBarrier & has_scope(c, s) & durable[0][0]);
    end;
  end;
  for r: Row do
    kept[r] := keeps_drop(r);
    dropped[r] := kept[r] & BROKEN != ForgetsDrops;
    for c: Column do
      cell_done[c][r] := cell_done[c][r] | dropped[r];
    end;
  end;
  for g: Group do
    -- One with nothing left to do needs no admission.
    admitted[g] := !ADMITS | !group_is_open(g);
  end;
  settle();
  for c: Column do
    for s: Scope do
      node_done[c][s] := node_done[c][s] & BROKEN != RestoresNoBarrier;
    end;
    for r: Row do
      assert cell_done[c][r] = (durable[c][r] | dropped[r])
        "CKPT-06: exactly what is claimed is done, and dropped rows";
      assert !cell_flight[c][r] "SCHED-04: nothing runs that a crash has ended";
    end;
  end;
  for r: Row do
    assert dropped[r] = kept[r] "CKPT-17: the drops that the claim holds are kept";
  end;
  forget_pending();
end;

procedure resume_from(torn: boolean);
var was: Cells; right: boolean; new: boolean; first: Count;
begin
  was := durable;
  if BROKEN = ReplacesTheClaimInPlace & torn then
    for c: Column do
      for r: Row do
        durable[c][r] := false;
      end;
    end;
  end;
  if BROKEN = ResumesFromTheOneBefore & !torn then
    for c: Column do
      first := first_open(c);
      if first > 0 then
        durable[c][first - 1] := false;
      end;
    end;
  end;
  right := true;
  new := writing;
  for c: Column do
    for r: Row do
      right := right & durable[c][r] = was[c][r];
      new := new & durable[c][r] = pending[c][r];
    end;
  end;
  assert right | new "CKPT-12: a resume begins from the last claim, or from the one in flight";
  resume();
end;

procedure drop_row(r: Row);
begin
  dropped[r] := true;
  for c: Column do
    cell_done[c][r] := true;
  end;
end;

procedure drop_row_of(c: Column; r: Row);
var was: array [Row] of boolean;
begin
  was := dropped;
  if BROKEN = DropsTheNextRow & r < ROWS - 1 then
    drop_row(r + 1);
  elsif BROKEN = DropHoldsBarriers then
    dropped[r] := true;
    cell_done[c][r] := true;
  else
    drop_row(r);
  end;
  for other: Row do
    assert dropped[other] = (was[other] | other = r) "DROP-01: the row that failed is dropped";
  end;
end;

-- Results that a claim holds, or one being written, are durable: no worker takes them.
function is_safe(c: Column; r: Row): boolean;
begin
  return durable[c][r] | (writing & pending[c][r]);
end;

-- Of a barrier the output that was given, or could be; what is being given stays.
function may_lose_output(c: Column; r: Row): boolean;
begin
  return !is_safe(c, r) & !cell_flight[c][r];
end;

procedure lose_cell(c: Column; r: Row);
var was: Cells;
begin
  assert !is_safe(c, r) "FAIL-08: what is durable is not lost";
  was := cell_done;
  cell_done[c][r] := false;
  for d: Column do
    if BROKEN = LosesWhatWasMadeFromIt & needs(d, c) then
      cell_done[d][r] := false;
    end;
  end;
  for d: Column do
    for other: Row do
      assert (d = c & other = r) | cell_done[d][other] = was[d][other]
        "FAIL-08: what was made from a lost result stays";
    end;
  end;
  losses := losses + 1;
end;

procedure lose_node(c: Column; s: Scope);
begin
  node_done[c][s] := false;
  for r: Row do
    if in_scope(c, s, r) & !is_safe(c, r) & BROKEN != KeepsTheOutput then
      cell_done[c][r] := false;
    end;
  end;
  for r: Row do
    assert !in_scope(c, s, r) | !cell_done[c][r] | is_safe(c, r)
      "FAIL-08: output that is not durable is lost with its barrier";
  end;
  losses := losses + 1;
end;

-- Steps

startstate "nothing is there yet"
begin
  for c: Column do
    for r: Row do
      cell_done[c][r] := false;
      cell_flight[c][r] := false;
      durable[c][r] := false;
      pending[c][r] := false;
    end;
    for s: Scope do
      node_done[c][s] := false;
      node_flight[c][s] := false;
    end;
  end;
  for r: Row do
    dropped[r] := false;
    durable_drops[r] := false;
    pending_drops[r] := false;
  end;
  for g: Group do
    admitted[g] := !ADMITS;
  end;
  writing := false;
  crashes := 0;
  retries := 0;
  drops := 0;
  stops := 0;
  stopping := false;
  losses := 0;
end;

ruleset c: Column; r: Row do
  rule "a cell starts"
    !cell_done[c][r] & (!cell_flight[c][r] | BROKEN = StartsTwice) & cell_may_start(c, r)
    & (is_barrier(c) | (a_worker_is_free() & calls_may_start()))
  ==>
  begin
    assert !cell_flight[c][r] "SCHED-02: a cell is not started while it runs";
    assert !dropped[r] "DROP-03: nothing of a dropped row starts";
    assert is_barrier(c) | has_inputs(c, r) "SCHED-01: a cell starts with its inputs";
    assert !stopping | is_barrier(c) "STOP-05: no call starts after a stop was requested";
    assert row_is_admitted(r) "GROUP-01: a cell starts after its row was admitted";
    cell_flight[c][r] := true;
    settle();
  end;

  rule "a cell ends"
    cell_flight[c][r]
  ==>
  begin
    cell_flight[c][r] := false;
    cell_done[c][r] := true;
    settle();
  end;

  rule "a result is lost with a worker"
    losses < LOSSES & cell_done[c][r] & !is_barrier(c)
    & (!is_safe(c, r) | BROKEN = LosesWhatIsClaimed)
  ==>
  begin
    lose_cell(c, r);
  end;

  rule "a cell fails, to be tried again"
    retries < RETRIES & cell_flight[c][r] & !cell_done[c][r] & !is_barrier(c)
  ==>
  begin
    cell_flight[c][r] := false;
    retries := retries + 1;
    settle();
  end;

  rule "a cell fails for good"
    drops < DROPS & cell_flight[c][r] & !cell_done[c][r] & !is_barrier(c)
  ==>
  begin
    cell_flight[c][r] := false;
    drops := drops + 1;
    drop_row_of(c, r);
    settle();
  end;
end;

ruleset c: Column; s: Scope do
  rule "a barrier starts"
    has_scope(c, s) & !node_done[c][s] & !node_flight[c][s] & node_may_start(c, s)
    & a_worker_is_free() & calls_may_start()
  ==>
  begin
    assert !stopping "STOP-05: no call starts after a stop was requested";
    assert exists r: Row do in_scope(c, s, r) & !cell_done[c][r] end
      "BARR-08: a barrier runs only for rows that want its output";
    assert scope_is_admitted(c, s) "GROUP-01: a barrier starts after its rows were admitted";
    node_flight[c][s] := true;
    settle();
  end;

  rule "a barrier ends"
    node_flight[c][s]
  ==>
  begin
    node_flight[c][s] := false;
    node_done[c][s] := true;
    settle();
  end;

  rule "what a barrier gave is lost with a worker"
    losses < LOSSES & has_scope(c, s) & node_done[c][s]
    & exists r: Row do in_scope(c, s, r) & may_lose_output(c, r) end
  ==>
  begin
    lose_node(c, s);
  end;

  rule "a barrier fails, to be tried again"
    retries < RETRIES & node_flight[c][s] & !node_done[c][s]
  ==>
  begin
    node_flight[c][s] := false;
    retries := retries + 1;
    settle();
  end;

  rule "a barrier fails for good"
    drops < DROPS & node_flight[c][s] & !node_done[c][s]
  ==>
  begin
    node_flight[c][s] := false;
    drops := drops + 1;
    for r: Row do
      if in_scope(c, s, r) & !cell_done[c][r] then
        drop_row(r);
      end;
    end;
    node_done[c][s] := true;
    settle();
  end;
end;

ruleset g: Group do
  rule "a row group is admitted"
    !admitted[g] & !stopping & group_is_open(g) & a_place_is_free() & leads_on(g)
  ==>
  begin
    assert GROUPS = 0 | places_taken() < GROUPS "GROUP-02: no more groups than the limit allows";
    admitted[g] := true;
    settle();
  end;
end;

rule "a claim of rows is begun"
  CLAIM_ROWS & may_save() & !writing & rows_grow()
==>
begin
  for c: Column do
    for r: Row do
      pending[c][r] := r < claim_of_rows();
    end;
  end;
  hold_drops();
  writing := true;
end;

rule "a claim of columns is begun"
  CLAIM_COLUMNS & may_save() & !writing & columns_grow()
  & !(CLAIM_ROWS & columns_are_level())
==>
begin
  for c: Column do
    for r: Row do
      pending[c][r] := r < column_to_claim(c);
    end;
  end;
  hold_drops();
  writing := true;
end;

rule "a claim of cells is begun"
  CLAIM_CELLS & may_save() & !writing & cells_grow()
  & !(CLAIM_COLUMNS & cells_are_columns()) & !(CLAIM_ROWS & cells_are_rows())
==>
begin
  for c: Column do
    for r: Row do
      pending[c][r] := cell_to_claim(c, r);
    end;
  end;
  writing := true;
end;

rule "a claim is durable"
  writing & may_save()
==>
begin
  make_durable();
  forget_pending();
end;

rule "a crash leaves the claim before"
  crashes < CRASHES
==>
begin
  crashes := crashes + 1;
  resume_from(false);
end;

rule "a crash leaves the claim that was being written"
  crashes < CRASHES & writing
==>
begin
  crashes := crashes + 1;
  make_durable();
  resume();
end;

rule "a crash tears the claim that was being written"
  crashes < CRASHES & writing & TORN
==>
begin
  crashes := crashes + 1;
  resume_from(true);
end;

rule "a stop is requested"
  !stopping & stops < STOPS
==>
begin
  stopping := true;
  stops := stops + 1;
end;

rule "the run ends as interrupted, and a new process resumes"
  !writing & nothing_runs() & may_interrupt()
==>
begin
  assert stopping "STOP-06: a run is interrupted only if a stop was requested";
  assert nothing_is_left_to_claim() "STOP-07: an interrupted run has claimed what it could";
  resume_from(false);
end;

-- What must always hold. What holds only until a result is lost says so: what runs, or was made from
-- it, stays.

function saves(): boolean;
begin
  return CRASHES + STOPS > 0;
end;

invariant "SCHED-01: a cell that runs, and is wanted, has its inputs"
  losses > 0 | forall c: Column do forall r: Row do
    cell_flight[c][r] & !cell_done[c][r] & !is_barrier(c)
    -> forall d: Column do needs(c, d) -> cell_done[d][r] end
  end end;

invariant "BARR-01: a barrier that runs has its inputs from every row of its scope"
  losses > 0 | forall c: Column do forall s: Scope do
    node_flight[c][s] -> forall d: Column do forall r: Row do
      needs(c, d) & in_scope(c, s, r) -> cell_done[d][r]
    end end
  end end;

invariant "CKPT-07: of a complete barrier every row has the inputs, or the output"
  losses > 0 | forall c: Column do forall s: Scope do
    node_done[c][s] -> forall r: Row do
      in_scope(c, s, r) -> cell_done[c][r] | forall d: Column do
        needs(c, d) -> cell_done[d][r]
      end
    end
  end end;

invariant "BARR-02: an output cell is of a finished barrier, or claimed, or of a dropped row"
  losses > 0 | forall c: Column do forall r: Row do
    is_barrier(c) & (cell_done[c][r] | cell_flight[c][r])
    -> node_done[c][scope_of(c, r)] | durable[c][r] | dropped[r]
  end end;

-- One in flight, all of whose rows that it still had to make were dropped meanwhile, may be claimed
-- before it ends; and of an ordered column those after it, before they resolve by themselves.
invariant "CKPT-07: a barrier all of whose output is claimed is complete, runs, or waits for its turn"
  forall c: Column do forall s: Scope do
    has_scope(c, s) & (forall r: Row do in_scope(c, s, r) -> durable[c][r] end)
    -> node_done[c][s] | node_flight[c][s] | !node_may_start(c, s)
  end end;

invariant "CKPT-08: what is claimed is done"
  forall c: Column do forall r: Row do
    durable[c][r] -> cell_done[c][r]
  end end;

invariant "CKPT-02: what a claim of rows would hold is done"
  !CLAIM_ROWS | !saves() | forall c: Column do forall r: Row do
    r < claim_of_rows() -> cell_done[c][r]
  end end;

invariant "CKPT-09: a claim of rows would hold no less than before"
  !CLAIM_ROWS | CLAIM_COLUMNS | CLAIM_CELLS | !saves() | forall c: Column do forall r: Row do
    durable[c][r] -> r < claim_of_rows()
  end end;

invariant "CKPT-13: what a claim of columns would hold is done"
  !CLAIM_COLUMNS | !saves() | forall c: Column do forall r: Row do
    r < column_to_claim(c) -> cell_done[c][r]
  end end;

invariant "CKPT-13: a claim of cells would be closed, and hold what is done"
  !CLAIM_CELLS | !saves() | forall c: Column do forall r: Row do
    cell_to_claim(c, r) -> cell_done[c][r] & forall d: Column do forall other: Row do
      must_be_claimed_first(c, r, d, other) -> cell_to_claim(d, other)
    end end
  end end;

invariant "CKPT-09: a claim of cells would hold what is claimed"
  !CLAIM_CELLS | !saves() | forall c: Column do forall r: Row do
    durable[c][r] -> cell_to_claim(c, r)
  end end;

invariant "CKPT-08: what is being claimed is done"
  forall c: Column do forall r: Row do
    writing & pending[c][r] -> cell_done[c][r]
  end end;

invariant "CKPT-05: a cell is claimed only with its inputs, and in order"
  forall c: Column do forall r: Row do
    durable[c][r] -> forall d: Column do forall other: Row do
      must_be_claimed_first(c, r, d, other) -> durable[d][other]
    end end
  end end;

invariant "CKPT-09: a claim does not fall"
  forall c: Column do forall r: Row do
    writing & durable[c][r] -> pending[c][r]
  end end;

invariant "SCHED-03: what is done is not run again"
  forall c: Column do forall r: Row do
    cell_flight[c][r] & cell_done[c][r] -> dropped[r]
  end end;

invariant "SCHED-13: rows of an ordered column run one after the other"
  losses > 0 | forall c: Column do forall r: Row do
    ordered(c) & !is_barrier(c) & cell_flight[c][r] & !cell_done[c][r]
    -> forall earlier: Row do earlier < r -> cell_done[c][earlier] end
  end end;

invariant "SCHED-06: no more calls than workers"
  WORKERS = 0 | slots_taken() <= WORKERS;

invariant "GROUP-01: what runs is of admitted rows"
  forall c: Column do
    forall r: Row do cell_flight[c][r] -> row_is_admitted(r) end
    & forall s: Scope do node_flight[c][s] -> scope_is_admitted(c, s) end
  end;

invariant "GROUP-02: no more groups with something left to do than the limit allows"
  GROUPS = 0 | places_taken() <= GROUPS;

-- What is said of a run that ended well: here only whether every node is done.
function says_success(): boolean;
begin
  for c: Column do
    for r: Row do
      if !cell_done[c][r] & (BROKEN != ReportsSuccessEarly | c = COLUMNS - 1) then
        return false;
      end;
    end;
  end;
  return true;
end;

invariant "SCHED-10: success is reported of a whole table"
  says_success() -> forall c: Column do forall r: Row do cell_done[c][r] end end;

liveness "SCHED-12: the run can still end well"
  forall c: Column do
    forall r: Row do cell_done[c][r] & !cell_flight[c][r] end
    & forall s: Scope do has_scope(c, s) -> node_done[c][s] & !node_flight[c][s] end
  end;

cover "SCHED-12: a run ends well"
  forall c: Column do
    forall r: Row do cell_done[c][r] end
    & forall s: Scope do has_scope(c, s) -> node_done[c][s] end
  end;
