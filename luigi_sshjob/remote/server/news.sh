# shellcheck shell=sh disable=SC2034,SC2154
# Supervisors tell of the end of their jobs, so that polls need not look at each job to find it. Each session that watches
# has a file below lib; each supervisor appends a line to all of those. A line that is lost, for example on a network file
# system, costs time only: a poll of all jobs finds the end, too.
#
# A line is the name of a job here: the tag of its spec and its attempt, as TAG_ATTEMPT.

# descriptors for the files of that many base directories; shells know one digit only
SJ_HEARD_BASES=4

# name_news NUMBER NAME: for the subscription of that number, in base directory number $watched_base.
name_news() {
  case $2 in '' | *[!0-9a-f_]*) return ;; esac
  eval "name_$1=told_${watched_base}_$2 told_${watched_base}_$2=\"\${told_${watched_base}_$2-} $1 \""
}

# forget_news NUMBER: that subscription; the same job may have another one.
forget_news() {
  eval "told_name=\${name_$1-}"
  [ -n "$told_name" ] || return 0
  eval "told=\$$told_name"
  told="${told%%" $1 "*}${told#*" $1 "}"
  eval "$told_name=\$told"
  [ -n "$told" ] || unset "$told_name"
  unset "name_$1"
}

# open_news NUMBER: creates the file of this session in that base directory, and opens it.
open_news() {
  [ "$1" -lt "$SJ_HEARD_BASES" ] || return 0
  eval "news=\$watched_base_$1/lib/.look.\$SJ_SELF.news"
  # a failing exec would end the shell
  { true >>"$news"; } 2>/dev/null && command eval "exec $(($1 + 6))<\"\$news\""
}

# hear_news: attends to the jobs of which supervisors have told.
hear_news() {
  heard=0
  while [ "$heard" -lt "$SJ_WATCHED_BASES" ] && [ "$heard" -lt "$SJ_HEARD_BASES" ]; do
    # somebody may have removed it
    eval "news=\$watched_base_$heard/lib/.look.\$SJ_SELF.news"
    [ -e "$news" ] || privately open_news "$heard"
    while { IFS= read -r told <&$((heard + 6)); } 2>/dev/null; do
      case $told in '' | *[!0-9a-f_]*) continue ;; esac
      eval "told=\${told_${heard}_$told-}"
      for attentive in $told; do load_job "$attentive" && attend; done
    done
    heard=$((heard + 1))
  done
}
