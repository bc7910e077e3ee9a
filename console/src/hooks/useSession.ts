import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { isStatus } from "../api/http";
import { fetchMe, logIn, logOut } from "../api/session";
import type { User } from "../api/types";
import { paths } from "../domain/paths";

export const ME_KEY = ["me"] as const;

/** Who is logged in; null: nobody. */
export function useMe() {
  return useQuery<User | null>({
    queryKey: ME_KEY,
    queryFn: async ({ signal }) => {
      try {
        return await fetchMe(signal);
      } catch (error) {
        if (isStatus(error, 401)) {
          return null;
        }
        throw error;
      }
    },
    staleTime: Infinity,
  });
}

interface Credentials {
  user: string;
  password: string;
}

export function useLogIn() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ user, password }: Credentials) => logIn(user, password),
    onSuccess: (user) => {
      client.clear();
      client.setQueryData(ME_KEY, user);
    },
  });
}

export function useLogOut() {
  return useMutation({
    mutationFn: logOut,
    // The page is loaded anew, so that nothing of this session stays in memory.
    onSettled: () => window.location.assign(paths.login("")),
  });
}
